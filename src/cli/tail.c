#include "cli/tail.h"
#include "base/status.h"
#include "base/text.h"
#include "capture/tail.h"
#include "cli/dbfile.h"
#include "cli/ending.h"
#include "cli/feed.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct option_row tail_verb_option_rows[] = {
    {"filter", "F", "only rows that match, as 'age >= 18'; several must all match; for one TABLE",
        OPTION_LIST, offsetof(struct tail_verb_options, filters)},
    {"events", "LIST", "only these: insert,update,delete", OPTION_TEXT,
        offsetof(struct tail_verb_options, events)},
    {"format", "pretty|json", "lines to read, or a JSON object a line, as a server sends them",
        OPTION_CHOICE, offsetof(struct tail_verb_options, format)},
    {"checkpoint", NULL, "keep the log small: copy it into the file when it has grown large",
        OPTION_FLAG, offsetof(struct tail_verb_options, checkpoint)},
    {NULL},
};

const char tail_verb_help[] =
    "Prints the commits of a database file as they are made, by whatever program, without a\n"
    "server: of some tables, or without TABLE of all, and what becomes of the tables themselves.\n"
    "^C ends it. A name stands for whatever table has it, also one that is created again.\n"
    "\n"
    "The file is only read, and nobody has to wait: the commits are decoded from the write-ahead\n"
    "log. So the file has to be in WAL mode; PRAGMA journal_mode=WAL makes it so once and for\n"
    "good. But while tail reads the log, nobody can begin it anew, and it grows: --checkpoint\n"
    "sees to that where much is written for long. Writers need a busy timeout then.\n"
    "\n"
    "--filter takes column = value, also != < <= > >=, in (a,b,c), is null, is not null.\n"
    "\n"
    "Examples:\n"
    "  rowtap tail notes.db\n"
    "  rowtap tail shop.db orders items --events insert,delete\n"
    "  rowtap tail shop.db orders --filter 'total >= 100' --format json | jq .data.total\n";

/* A log of so many bytes is worth a word. */
#define LARGE_LOG (64 << 20)

struct follower {
    struct dbfile file;
    struct feed feed;
    struct ending ending;
    struct buf err;
    int status; /* why it printed no more */
    bool checkpoint, replaced, large;
};

static void on_batch(void *ctx, struct batch *b)
{
    struct follower *f = ctx;

    if (f->status < 0)
        return;
    f->status = feed_put(&f->feed, b, &f->err);
    if (f->status < 0)
        atomic_store(&f->ending.stop, true);
}

static void put_text(struct buf *out, const char *text)
{
    term_put(out, text, strlen(text), 0);
}

static void announce(const struct tail *t, const char *path, const struct selection *s)
{
    const struct schema *schema = tail_schema(t);
    struct buf line = {0};
    int tables = 0;

    for (int i = 0; i < schema->table_count; i++)
        tables += table_has_events(schema->tables[i]);
    buf_puts(&line, "following ");
    for (int i = 0; i < s->table_count; i++) {
        buf_puts(&line, i ? ", " : "");
        put_text(&line, s->tables[i]);
    }
    buf_puts(&line, s->table_count ? " of " : "");
    put_text(&line, path);
    if (s->table_count)
        buf_puts(&line, " (WAL)");
    else
        buf_printf(&line, " (WAL, %d table%s)", tables, tables == 1 ? "" : "s");
    buf_puts(&line, "; Ctrl-C ends\n");
    if (buf_text(&line))
        fputs(buf_text(&line), stderr);
    buf_fini(&line);
}

/* On the thread that waits for the end. */
static bool look(void *ctx)
{
    struct follower *f = ctx;

    if (!f->large && !f->checkpoint && dbfile_log_size(&f->file) > LARGE_LOG) {
        f->large = true;
        term_error("the log has become large, because its end is always in use here and nobody can "
                   "begin it anew; with --checkpoint tail sees to that");
    }
    f->replaced = !dbfile_same(&f->file);
    return f->replaced;
}

/* What cannot go on is either said in err or was said by term_flush. */
static int follow(struct follower *f, struct tail *t, const char *path)
{
    struct selection *s = &f->feed.selection;
    int status;

    if (strcmp(tail_journal_mode(t), "wal") != 0) {
        buf_printf(&f->err, "cannot follow %s: its journal mode is %s, not WAL", path,
            tail_journal_mode(t));
        return STATUS_INVALID;
    }
    status = selection_check(s, tail_schema(t), path, &f->err);
    if (status < 0)
        return status;
    status = ending_start(&f->ending, look, f);
    if (status < 0) {
        buf_puts(&f->err, "out of memory");
        return status;
    }
    announce(t, path, s);
    status = tail_run(t, &f->ending.stop, &f->err);
    ending_stop(&f->ending);
    if (f->replaced && status == 0) {
        buf_printf(&f->err, "%s was removed, or another file has its place", path);
        status = STATUS_NOT_FOUND;
    }
    return f->status < 0 ? f->status : status;
}

static int run(struct follower *f, const struct tail_options *options)
{
    struct tail *t;
    int status;

    status = dbfile_init(&f->file, options->path, &f->err);
    if (status < 0)
        return status;
    t = tail_open(options, &f->err);
    status = t ? follow(f, t, options->path) : STATUS_IO;
    if (t)
        tail_close(t);
    return status;
}

static int usage(const char *message)
{
    fprintf(stderr, "rowtap tail: %s\ntry: rowtap help tail\n", message);
    return 2;
}

int tail_verb_run(const void *options, int argc, char **argv)
{
    const struct tail_verb_options *o = options;
    struct follower f = {
        .feed = {.json = o->format == 1, .flush = term_flush}, .checkpoint = o->checkpoint};
    struct tail_options engine = {.checkpoint = o->checkpoint, .publish = on_batch, .ctx = &f};
    struct selection *s = &f.feed.selection;
    int status;

    s->events = selection_events(o->events, &f.err);
    if (!s->events) {
        status = usage(buf_text(&f.err) ? buf_text(&f.err) : "out of memory");
        buf_fini(&f.err);
        return status;
    }
    if (argc == 0)
        return usage("name a database file");
    if (o->filters.count && argc != 2)
        return usage("--filter is for the rows of one table: name it after the file");
    engine.path = argv[0];
    s->tables = argv + 1;
    s->table_count = argc - 1;
    s->filters = &o->filters;
    f.feed.colour = term_colour(STDOUT_FILENO);
    text_random(f.feed.epoch, sizeof(f.feed.epoch) - 1);
    status = run(&f, &engine);
    if (status < 0 && status != STATUS_CLOSED && f.err.len)
        term_error(buf_text(&f.err) ? buf_text(&f.err) : "out of memory");
    dbfile_fini(&f.file);
    feed_fini(&f.feed);
    buf_fini(&f.err);
    return status < 0 && status != STATUS_CLOSED;
}
