#include "store_hdf5.h"

#include "memory.h"

#include <string.h>

/* UTF-8 of a size with its final zero, or H5T_VARIABLE: of any length. */
hid_t lm_h5_text_type(size_t size) {
    hid_t type = lm_h5_got(H5Tcopy(H5T_C_S1));
    if (type >= 0 && lm_h5_done(H5Tset_size(type, size)) &&
        lm_h5_done(H5Tset_cset(type, H5T_CSET_UTF8)))
        return type;
    lm_h5_drop(type);
    return H5I_INVALID_HID;
}

/* Set an attribute of an open object. */
static bool set(hid_t object, const char *name, hid_t type, hid_t memory, const void *value) {
    htri_t there = (htri_t)lm_h5_got(H5Aexists(object, name));
    hid_t space = lm_h5_got(H5Screate(H5S_SCALAR)), attribute = H5I_INVALID_HID;
    if (there > 0)
        attribute = lm_h5_got(H5Aopen(object, name, H5P_DEFAULT));
    else if (there == 0 && space >= 0)
        attribute = lm_h5_got(H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT));
    bool ok = attribute >= 0 && lm_h5_done(H5Awrite(attribute, memory, value));
    return lm_h5_drop(attribute) && lm_h5_drop(space) && ok;
}

/* Of any length a text stands in a heap of the file that has no checksum, and HDF5
 * crashes where that is damaged; of fixed length, in the header of the object, which has one.
 */
bool lm_h5_set_text(const struct lm_store *store, hid_t object, const char *name,
                    const char *text) {
    hid_t type = lm_h5_text_type(store->sealed ? strlen(text) + 1 : H5T_VARIABLE);
    const void *value = store->sealed ? (const void *)text : &text;
    bool ok = object >= 0 && type >= 0 && set(object, name, type, type, value);
    return lm_h5_drop(type) && ok;
}

/* Set an attribute of the object of a path. */
static bool set_on(struct lm_store *store, const char *object, const char *name, hid_t type,
                   const void *value) {
    hid_t on = lm_h5_got(H5Oopen(store->file, object, H5P_DEFAULT));
    bool ok = on >= 0 && type >= 0 && set(on, name, type, type, value);
    return lm_h5_drop(on) && ok;
}

bool lm_store_set_text(struct lm_store *store, const char *object, const char *name,
                       const char *text, struct lm_status *status) {
    lm_h5_begin(store);
    hid_t on = lm_h5_got(H5Oopen(store->file, object, H5P_DEFAULT));
    bool ok = lm_h5_set_text(store, on, name, text);
    ok = lm_h5_drop(on) && ok;
    return lm_h5_settle(store, ok, "set attribute", name,
                        lm_h5_hash_text(lm_h5_hash_call(object, name), text), status);
}

static bool set_number(struct lm_store *store, const char *object, const char *name, hid_t type,
                       const void *value, struct lm_status *status) {
    bool ok = set_on(store, object, name, type, value);
    return lm_h5_settle(store, ok, "set attribute", name,
                        lm_h5_hash(lm_h5_hash_call(object, name), value, 8), status);
}

bool lm_store_set_integer(struct lm_store *store, const char *object, const char *name,
                          int64_t value, struct lm_status *status) {
    lm_h5_begin(store);
    return set_number(store, object, name, H5T_NATIVE_INT64, &value, status);
}

bool lm_store_set_unsigned(struct lm_store *store, const char *object, const char *name,
                           uint64_t value, struct lm_status *status) {
    lm_h5_begin(store);
    return set_number(store, object, name, H5T_NATIVE_UINT64, &value, status);
}

bool lm_store_set_double(struct lm_store *store, const char *object, const char *name,
                         double value, struct lm_status *status) {
    lm_h5_begin(store);
    return set_number(store, object, name, H5T_NATIVE_DOUBLE, &value, status);
}

static bool no_attribute(struct lm_store *store, const char *object, const char *name,
                         const char *kind, struct lm_status *status) {
    return lm_fail(status, LM_DATA, "%s: %s has no attribute %s that is %s", store->path,
                   object, name, kind);
}

/* An attribute that holds one value of a class, or an invalid identifier. */
static hid_t open_attribute(struct lm_store *store, const char *object, const char *name,
                            H5T_class_t class) {
    hid_t attribute =
        lm_h5_got(H5Aopen_by_name(store->file, object, name, H5P_DEFAULT, H5P_DEFAULT));
    hid_t type = attribute < 0 ? attribute : lm_h5_got(H5Aget_type(attribute));
    hid_t space = attribute < 0 ? attribute : lm_h5_got(H5Aget_space(attribute));
    bool fits = type >= 0 && H5Tget_class(type) == class && space >= 0 &&
                H5Sget_simple_extent_npoints(space) == 1;
    lm_h5_drop(type), lm_h5_drop(space);
    if (fits)
        return attribute;
    lm_h5_drop(attribute);
    return H5I_INVALID_HID;
}

bool lm_h5_get_number(struct lm_store *store, const char *object, const char *name, hid_t type,
                      void *value) {
    lm_h5_begin(store);
    hid_t attribute = open_attribute(store, object, name, H5Tget_class(type));
    bool ok = attribute >= 0 && lm_h5_done(H5Aread(attribute, type, value));
    return lm_h5_drop(attribute) && ok;
}

bool lm_store_get_integer(struct lm_store *store, const char *object, const char *name,
                          int64_t *value, struct lm_status *status) {
    return lm_h5_get_number(store, object, name, H5T_NATIVE_INT64, value) ||
           no_attribute(store, object, name, "a whole number", status);
}

bool lm_store_get_double(struct lm_store *store, const char *object, const char *name,
                         double *value, struct lm_status *status) {
    return lm_h5_get_number(store, object, name, H5T_NATIVE_DOUBLE, value) ||
           no_attribute(store, object, name, "a number", status);
}

/* The text of an attribute, or NULL. */
static char *read_text(hid_t attribute) {
    hid_t stored = lm_h5_got(H5Aget_type(attribute));
    bool variable = stored >= 0 && H5Tis_variable_str(stored) > 0;
    size_t size = stored < 0 || variable ? 0 : H5Tget_size(stored);
    hid_t type = lm_h5_text_type(variable ? H5T_VARIABLE : size + 1);
    char *text = NULL, *copy = variable ? NULL : lm_allocate(size + 1, 1);
    bool ok = stored >= 0 && type >= 0 &&
              lm_h5_done(H5Aread(attribute, type, variable ? (void *)&text : copy));
    if (variable && ok)
        copy = lm_copy_string(text ? text : "");
    if (text)
        lm_h5_done(H5free_memory(text));
    lm_h5_drop(type), lm_h5_drop(stored);
    if (ok)
        return copy;
    lm_free(copy);
    return NULL;
}

char *lm_store_get_text(struct lm_store *store, const char *object, const char *name,
                        struct lm_status *status) {
    lm_h5_begin(store);
    hid_t attribute = open_attribute(store, object, name, H5T_STRING);
    char *text = attribute < 0 ? NULL : read_text(attribute);
    lm_h5_drop(attribute);
    if (!text)
        no_attribute(store, object, name, "a text", status);
    return text;
}

bool lm_store_check_format(struct lm_store *store, const char *format, int64_t version,
                           struct lm_status *status) {
    int64_t found;
    char *text = lm_store_get_text(store, "/", "format", status);
    if (!text || !lm_store_get_integer(store, "/", "format_version", &found, status)) {
        lm_free(text);
        return lm_fail(status, LM_DATA, "%s is not a %s", store->path, format);
    }
    bool same = strcmp(text, format) == 0 && found == version;
    if (!same)
        lm_fail(status, LM_DATA,
                "%s is a '%s' of version %lld: '%s' of version %lld is expected", store->path,
                text, (long long)found, format, (long long)version);
    lm_free(text);
    return same;
}
