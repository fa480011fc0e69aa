#include "mixed.h"

#include <stdlib.h>

int mixed_set_up(void **state)
{
    struct mixed *m = calloc(1, sizeof(*m));
    fixture_init(&m->f);
    m->f.options.external = true;
    m->f.options.busy_timeout_ms = 10000;
    fixture_open(&m->f);
    sql_ok(&m->f, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    other_start(&m->o, m->f.path);
    other_start(&m->intruder, m->f.path);
    forget_events(&m->f);
    *state = m;
    return 0;
}

int mixed_tear_down(void **state)
{
    struct mixed *m = *state;
    other_end(&m->o);
    other_end(&m->intruder);
    fixture_fini(&m->f);
    free(m);
    return 0;
}
