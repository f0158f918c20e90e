/* Checkpoint, its content: a good file whose groups, datasets and attributes are removed,
 * linked elsewhere or replaced by others of every type and shape that HDF5 has. Each edit takes
 * bytes of the input as it needs them. */
#include "fuzz.h"
#include "fuzz_resume.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OBJECTS = 64, NAME = 64, MOST_EDITS = 6, MOST_BYTES = 4096, MOST_TEXT = 64 };

static uint8_t *good;
static size_t good_size;
static char objects[MOST_OBJECTS][NAME]; /* paths of the good file */
static int n_objects;
static const char *const attributes[] = {"format",     "format_version", "settings", "n_layers",
                                         "steps_done", "real",           "step"};

static herr_t add_object(hid_t file, const char *name, const H5O_info_t *info, void *unused) {
    (void)file, (void)info, (void)unused;
    PROMISE(n_objects < MOST_OBJECTS && strlen(name) < NAME);
    strcpy(objects[n_objects++], name);
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    fuzz_start();
    good = fuzz_good_checkpoint(fuzz_path("good.h5"), &good_size);
    hid_t file = H5Fopen(fuzz_path("good.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    PROMISE(file >= 0 &&
            H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, add_object, NULL, H5O_INFO_BASIC) >= 0);
    H5Fclose(file);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return 0;
}

static const char *pick_object(struct fuzz_input *input) {
    return objects[fuzz_byte(input) % n_objects];
}

static hid_t text_type(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    return type;
}

static hid_t compound_type(void) {
    hid_t type = H5Tcreate(H5T_COMPOUND, 16);
    H5Tinsert(type, "a", 0, H5T_STD_I64LE);
    H5Tinsert(type, "b", 8, H5T_IEEE_F64LE);
    return type;
}

static hid_t odd_float_type(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F64BE);
    H5Tset_fields(type, 40, 30, 8, 3, 27);
    H5Tset_precision(type, 41);
    return type;
}

/* A type of any class; closed by the caller. */
static hid_t make_type(unsigned choice) {
    const hsize_t three = 3;
    const hid_t plain[] = {H5T_STD_I8LE,    H5T_STD_I64LE,  H5T_STD_I64BE,      H5T_STD_U64LE,
                           H5T_IEEE_F32BE,  H5T_IEEE_F64LE, H5T_NATIVE_LDOUBLE, H5T_STD_B8LE,
                           H5T_STD_REF_OBJ, H5T_UNIX_D64LE};
    const unsigned n_plain = sizeof plain / sizeof *plain;
    choice %= n_plain + 9;
    if (choice < n_plain)
        return H5Tcopy(plain[choice]);
    switch (choice - n_plain) {
    case 0:
        return text_type(1);
    case 1:
        return text_type(20);
    case 2:
        return text_type(H5T_VARIABLE);
    case 3:
        return H5Tcreate(H5T_OPAQUE, 8);
    case 4:
        return H5Tenum_create(H5T_STD_I32LE);
    case 5:
        return compound_type();
    case 6:
        return H5Tarray_create2(H5T_STD_I64LE, 1, &three);
    case 7:
        return H5Tvlen_create(H5T_STD_I64LE);
    default:
        return odd_float_type();
    }
}

/* Of an attribute it must be small, since HDF5 makes room for all of it. */
static hid_t make_space(struct fuzz_input *input, bool small) {
    static const hsize_t extents[] = {0, 1, 2, 3, 4, 5, 6, 1000, (hsize_t)1 << 40};
    const size_t n = sizeof extents / sizeof *extents - (small ? 2 : 0);
    unsigned choice = fuzz_byte(input) % 40;
    if (choice == 0)
        return H5Screate(H5S_SCALAR);
    if (choice == 1)
        return H5Screate(H5S_NULL);
    hsize_t extent[H5S_MAX_RANK];
    int rank = choice < 32 ? 1 + (int)choice % 4 : H5S_MAX_RANK;
    for (int d = 0; d < rank; d++)
        extent[d] = d < 4 ? extents[fuzz_byte(input) % n] : 1;
    return H5Screate_simple(rank, extent, NULL);
}

/* How the values are kept: contiguous, compact, elsewhere, or in chunks through filters. */
static hid_t make_layout(unsigned choice, hid_t space) {
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    int rank = H5Sget_simple_extent_ndims(space);
    if (choice % 8 == 1)
        H5Pset_layout(list, H5D_COMPACT);
    if (choice % 8 == 2)
        H5Pset_external(list, "/nowhere", 0, H5F_UNLIMITED);
    if (choice % 8 < 3 || rank < 1)
        return list;
    hsize_t chunk[H5S_MAX_RANK];
    for (int d = 0; d < rank; d++)
        chunk[d] = 2;
    H5Pset_chunk(list, rank, chunk);
    if (choice % 8 == 4)
        H5Pset_fletcher32(list);
    if (choice % 8 == 5)
        H5Pset_deflate(list, 1);
    if (choice % 8 == 6)
        H5Pset_filter(list, 32100, H5Z_FLAG_OPTIONAL, 0, NULL); /* that nobody has */
    return list;
}

/* Bytes for values of a type in a space, if these are few and hold no pointers. */
static const void *make_values(struct fuzz_input *input, hid_t type, hid_t space) {
    static uint8_t bytes[MOST_BYTES];
    hssize_t n = H5Sget_simple_extent_npoints(space);
    size_t size = H5Tget_size(type);
    if (n < 1 || size < 1 || H5Tdetect_class(type, H5T_VLEN) || H5Tis_variable_str(type) ||
        (size_t)n > MOST_BYTES / size)
        return NULL;
    uint8_t fill = fuzz_byte(input);
    memset(bytes, fill, (size_t)n * size);
    for (size_t i = 0; i < 8 && i < size; i++)
        bytes[i] = fuzz_byte(input);
    return bytes;
}

static void replace_dataset(struct fuzz_input *input, hid_t file, const char *path) {
    hid_t type = make_type(fuzz_byte(input)), space = make_space(input, false);
    hid_t list = make_layout(fuzz_byte(input), space);
    H5Ldelete(file, path, H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, path, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    const void *values = make_values(input, type, space);
    if (dataset >= 0 && values)
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset), H5Pclose(list), H5Sclose(space), H5Tclose(type);
}

/* New values for a dataset, in its own type. */
static void overwrite(struct fuzz_input *input, hid_t file, const char *path) {
    hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
    if (dataset < 0)
        return;
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    const void *values = make_values(input, type, space);
    if (values)
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Sclose(space), H5Tclose(type), H5Dclose(dataset);
}

static void set_attribute(struct fuzz_input *input, hid_t file, const char *path,
                          const char *name) {
    hid_t on = H5Oopen(file, path, H5P_DEFAULT);
    hid_t type = make_type(fuzz_byte(input)), space = make_space(input, true);
    H5Adelete(on, name);
    hid_t attribute = H5Acreate2(on, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const void *values = make_values(input, type, space);
    if (attribute >= 0 && values)
        H5Awrite(attribute, type, values);
    H5Aclose(attribute), H5Sclose(space), H5Tclose(type), H5Oclose(on);
}

/* A text of the file's own type, so that its content is looked at. */
static void set_text(struct fuzz_input *input, hid_t file, const char *path, const char *name) {
    char text[MOST_TEXT + 1] = "";
    const char *value = text;
    size_t length = fuzz_byte(input) % MOST_TEXT;
    for (size_t i = 0; i < length; i++)
        text[i] = (char)fuzz_byte(input);
    hid_t on = H5Oopen(file, path, H5P_DEFAULT), type = text_type(H5T_VARIABLE);
    hid_t space = H5Screate(H5S_SCALAR);
    H5Adelete(on, name);
    hid_t attribute = H5Acreate2(on, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0)
        H5Awrite(attribute, type, &value);
    H5Aclose(attribute), H5Sclose(space), H5Tclose(type), H5Oclose(on);
}

/* Remove a link and open the file anew: HDF5 1.10 crashes when it makes again what it removed
 * since. */
static hid_t remove_link(hid_t *spoiled, const char *path) {
    H5Ldelete(*spoiled, path, H5P_DEFAULT);
    H5Fclose(*spoiled);
    return *spoiled = H5Fopen(fuzz_path("spoiled.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
}

/* Another object, or none, where a link pointed. */
static void relink(struct fuzz_input *input, hid_t *spoiled, const char *path) {
    hid_t file = *spoiled;
    unsigned how = fuzz_byte(input);
    const char *to = pick_object(input);
    char aside[] = "/aside";
    if (how % 6 < 5)
        H5Ldelete(file, aside, H5P_DEFAULT);
    if (how % 6 == 5)
        H5Lmove(file, path, file, aside, H5P_DEFAULT, H5P_DEFAULT);
    else if (strcmp(to, path) == 0 || how % 6 == 0)
        H5Ldelete(file, path, H5P_DEFAULT);
    else if (how % 6 == 1 &&
             H5Lcreate_hard(file, to, file, aside, H5P_DEFAULT, H5P_DEFAULT) >= 0) {
        file = remove_link(spoiled, path);
        H5Lmove(file, aside, file, path, H5P_DEFAULT, H5P_DEFAULT);
    } else {
        file = remove_link(spoiled, path);
        if (how % 6 == 2)
            H5Lcreate_soft(to, file, path, H5P_DEFAULT, H5P_DEFAULT);
        if (how % 6 == 3)
            H5Lcreate_external("/nowhere.h5", to, file, path, H5P_DEFAULT, H5P_DEFAULT);
        if (how % 6 == 4)
            H5Gclose(H5Gcreate2(file, path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    }
}

/* A type with a name where an object was. */
static void name_type(struct fuzz_input *input, hid_t *spoiled, const char *path) {
    hid_t type = make_type(fuzz_byte(input));
    hid_t file = remove_link(spoiled, path);
    H5Tcommit2(file, path, type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Tclose(type);
}

static void edit(struct fuzz_input *input, hid_t *spoiled) {
    hid_t file = *spoiled;
    unsigned what = fuzz_byte(input) % 8;
    bool root = what == 3 || what == 4; /* where most attributes are */
    const char *path = root ? "/" : pick_object(input);
    const char *name = attributes[fuzz_byte(input) % (sizeof attributes / sizeof *attributes)];
    hid_t on;
    switch (what) {
    case 0:
        replace_dataset(input, file, path);
        break;
    case 1:
        overwrite(input, file, path);
        break;
    case 2:
    case 3:
        set_attribute(input, file, path, name);
        break;
    case 4:
        set_text(input, file, path, name);
        break;
    case 5:
        relink(input, spoiled, path);
        break;
    case 6:
        name_type(input, spoiled, path);
        break;
    default:
        on = H5Oopen(file, path, H5P_DEFAULT);
        H5Adelete(on, name);
        H5Oclose(on);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_path("spoiled.h5");
    struct fuzz_input input = {data, size};
    fuzz_write(path, good, good_size);
    bool whole = true;
    for (int i = 0; whole && i < MOST_EDITS && input.size; i++) {
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        whole = file >= 0;
        if (whole)
            edit(&input, &file);
        whole = H5Fclose(file) >= 0 && whole;
        PROMISE(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
    }
    if (whole)
        fuzz_resume(fuzz_path("spoiled.h5"));
    PROMISE(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
    return 0;
}
