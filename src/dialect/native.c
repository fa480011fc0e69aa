#include "dialect/native.h"

const struct dialect native_dialect = {
    .name = "native",
    .decode = native_decode,
    .command_fini = native_decode_fini,
    .put_reply = native_encode_reply,
    .put_body = native_encode_body,
    .put_prefix = native_encode_prefix,
    .put_item = native_encode_item,
    .put_batch = native_encode_batch,
    .put_row = native_encode_row,
};
