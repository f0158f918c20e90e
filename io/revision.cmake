# Writes OUTPUT with the git revision of SOURCE, and touches it only when it changed.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE REVISION OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE FAILED)
if(FAILED)
  set(REVISION "unknown")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define LAMINA_REVISION \"@REVISION@\"\n" @ONLY)
