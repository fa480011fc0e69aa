#include "capture/refuse.h"

#include "base/text.h"
#include <stddef.h>

/*
 * All that is not listed is refused: the rest changes how SQLite keeps the file (journal_mode,
 * synchronous, locking_mode, wal_autocheckpoint, …), what capture relies on (writable_schema,
 * foreign_keys, recursive_triggers, …) or a connection that others use too.
 */
static const struct pragma_rule pragmas[] = {
    {"table_info", true, false, false},
    {"table_xinfo", true, false, false},
    {"table_list", true, false, false},
    {"index_list", true, false, false},
    {"index_info", true, false, false},
    {"index_xinfo", true, false, false},
    {"foreign_key_list", true, false, false},
    {"foreign_key_check", true, false, false},
    {"integrity_check", true, false, false},
    {"quick_check", true, false, false},
    {"page_count", false, false, false},
    {"page_size", false, false, false},
    {"freelist_count", false, false, false},
    {"encoding", false, false, false},
    {"compile_options", false, false, false},
    {"function_list", false, false, false},
    {"pragma_list", false, false, false},
    {"module_list", false, false, false},
    {"collation_list", false, false, false},
    {"database_list", false, false, false},
    {"data_version", false, false, false},
    {"schema_version", false, false, false},
    {"journal_mode", false, false, false},
    {"synchronous", false, false, true},
    {"foreign_keys", false, false, true},
    {"auto_vacuum", false, false, false},
    {"cache_size", false, false, true},
    {"recursive_triggers", false, false, true},
    {"user_version", true, false, false},
    {"application_id", true, false, false},
    {"optimize", true, false, true},
    {"incremental_vacuum", true, false, true},
    {"wal_checkpoint", true, true, true},
    {"defer_foreign_keys", true, false, true},
};

const struct pragma_rule *refuse_find_pragma(const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof(pragmas) / sizeof(*pragmas); i++)
        if (text_casecmp(pragmas[i].name, name) == 0)
            return value && !pragmas[i].value ? NULL : &pragmas[i];
    return NULL;
}
