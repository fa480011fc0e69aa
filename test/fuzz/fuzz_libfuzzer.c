/* The same entries for clang's -fsanitize=fuzzer; FUZZ_ENTRY is the function. */
#include "fuzz.h"

#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_level(LOG_ERROR);
    FUZZ_ENTRY(data, size);
    return 0;
}
