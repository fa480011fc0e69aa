#include "cli/prompt.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/text.h"
#include "cli/interrupt.h"
#include "cli/split.h"
#include "cli/term.h"

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HISTORY_SIZE 1000

struct prompt {
    struct query *q;
    EditLine *el;
    History *history;
    char *history_path; /* NULL: there is no home to keep it in */
    struct buf text;    /* the lines of an unfinished statement */
    bool quit;
};

static const char help[] = "Type SQL and end it with a semicolon; it may take several lines.\n"
                           "BEGIN ... COMMIT is collected and sent as one transaction.\n"
                           "  .tables         the tables and views\n"
                           "  .schema NAME    how a table was created\n"
                           "  .help           this\n"
                           "  .quit           leave (or Ctrl-D)\n"
                           "Ctrl-C forgets what was typed, or stops waiting for an answer.\n";

static char *show_prompt(EditLine *el)
{
    static char first[] = "rowtap> ", more[] = "   ...> ";
    struct prompt *p = NULL;

    el_get(el, EL_CLIENTDATA, &p);
    return p && p->text.len ? more : first;
}

static void open_history(struct prompt *p)
{
    const char *home = getenv("HOME");
    struct buf path = {0};
    HistEvent event;

    p->history = history_init();
    if (!p->history)
        return;
    history(p->history, &event, H_SETSIZE, HISTORY_SIZE);
    history(p->history, &event, H_SETUNIQUE, 1);
    el_set(p->el, EL_HIST, history, p->history);
    if (!home || !*home)
        return;
    buf_printf(&path, "%s/.rowtap_history", home);
    if (buf_text(&path)) {
        size_t len;

        buf_putc(&path, '\0');
        p->history_path = buf_take(&path, &len);
    }
    buf_fini(&path);
    if (p->history_path)
        history(p->history, &event, H_LOAD, p->history_path);
}

/* Statements may hold secrets: the file is for its owner alone. */
static void save_history(struct prompt *p)
{
    HistEvent event;
    mode_t old;

    if (!p->history || !p->history_path)
        return;
    old = umask(077);
    history(p->history, &event, H_SAVE, p->history_path);
    umask(old);
}

static void remember(struct prompt *p, const char *line)
{
    HistEvent event;

    if (p->history && *line != '\n')
        history(p->history, &event, H_ENTER, line);
}

static void run_sql(struct prompt *p, const char *sql, size_t len, char *const *params)
{
    int status;

    interrupt_clear();
    status = query_send(p->q, sql, len, params, 1);
    if (status == STATUS_TOO_LARGE)
        term_error("the server takes no request of this size; start it with a larger --max-body");
    if (status == 0 && query_print(p->q, sql, len) == STATUS_CLOSED)
        p->quit = true;
    interrupt_clear();
}

/* Each statement (or transaction) by itself, so that each one's result is seen. */
static void run_text(struct prompt *p)
{
    size_t at = 0, unit;
    bool complete;

    while (!p->quit && (unit = split_unit(p->text.data, p->text.len, &at, &complete)) > 0) {
        run_sql(p, p->text.data + at, unit, NULL);
        at += unit;
        if (!p->q->result)
            break;
    }
    buf_reset(&p->text);
}

static void show_tables(struct prompt *p)
{
    static const char sql[] =
        "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') AND "
        "name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'rowtap\\_%' ESCAPE '\\' "
        "ORDER BY name";

    run_sql(p, sql, sizeof(sql) - 1, NULL);
}

static void show_schema(struct prompt *p, const char *name)
{
    static const char sql[] = "SELECT sql FROM sqlite_schema WHERE tbl_name = ? COLLATE NOCASE "
                              "AND sql IS NOT NULL ORDER BY type <> 'table', name";
    struct buf quoted = {0};
    char *params[2] = {NULL, NULL};
    const json_t *rows;

    /* As a parameter's quoted form, so that a table called 1 or null is found. */
    buf_putc(&quoted, '\'');
    for (const char *c = name; *c; c++)
        buf_puts(&quoted, *c == '\'' ? "''" : (char[]){*c, '\0'});
    buf_puts(&quoted, "'");
    buf_putc(&quoted, '\0');
    if (buf_error(&quoted)) {
        term_error("out of memory");
        buf_fini(&quoted);
        return;
    }
    params[0] = quoted.data;
    interrupt_clear();
    if (query_send(p->q, sql, sizeof(sql) - 1, params, 1) == 0) {
        rows = json_object_get(p->q->result, "rows");
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const char *text = json_string_value(json_array_get(json_array_get(rows, i), 0));

            for (const char *line = text; line && *line; line += *line == '\n') {
                size_t len = strcspn(line, "\n");

                term_put(&p->q->out, line, len, 0);
                line += len;
                buf_puts(&p->q->out, *line ? "\n" : ";\n");
            }
        }
        if (json_array_size(rows) == 0)
            fprintf(stderr, "there is no table or view called %s; .tables lists them\n", name);
        term_flush(&p->q->out);
    }
    interrupt_clear();
    buf_fini(&quoted);
}

static void run_dot(struct prompt *p, char *line)
{
    char *word = line, *argument;
    size_t len = strlen(line);

    while (len && strchr(" \t\r\n;", line[len - 1]))
        line[--len] = '\0';
    argument = line + strcspn(line, " \t");
    if (*argument) {
        *argument++ = '\0';
        argument += strspn(argument, " \t");
    }
    if (strcmp(word, ".quit") == 0 || strcmp(word, ".exit") == 0)
        p->quit = true;
    else if (strcmp(word, ".help") == 0)
        fputs(help, stdout);
    else if (strcmp(word, ".tables") == 0)
        show_tables(p);
    else if (strcmp(word, ".schema") == 0 && *argument)
        show_schema(p, argument);
    else if (strcmp(word, ".schema") == 0)
        fputs("usage: .schema NAME\n", stderr);
    else
        fprintf(stderr, "there is no %s here; .help lists what there is\n", word);
}

static void take_line(struct prompt *p, const char *line)
{
    const char *start = line + strspn(line, " \t");
    char *copy;

    remember(p, line);
    if (p->text.len == 0 && *start == '.') {
        copy = mem_strdup(start);
        if (copy)
            run_dot(p, copy);
        mem_free(copy);
        return;
    }
    buf_puts(&p->text, line);
    if (buf_error(&p->text)) {
        term_error("out of memory; the statement was forgotten");
        buf_reset(&p->text);
    } else if (split_complete(p->text.data, p->text.len)) {
        run_text(p);
    } else if (split_blank(p->text.data, p->text.len)) {
        buf_reset(&p->text);
    }
}

static void loop(struct prompt *p)
{
    while (!p->quit) {
        int count = 0;
        const char *line = el_gets(p->el, &count);

        if (interrupt_seen()) {
            interrupt_clear();
            buf_reset(&p->text);
            fputs("^C\n", stdout);
        } else if (line && count > 0) {
            take_line(p, line);
        } else {
            fputc('\n', stdout);
            break;
        }
    }
}

int prompt_run(struct query *q)
{
    struct prompt p = {.q = q};

    p.el = el_init("rowtap", stdin, stdout, stderr);
    if (!p.el) {
        term_error("the terminal cannot be used for a prompt; give the SQL as an argument");
        return STATUS_IO;
    }
    interrupt_catch();
    el_set(p.el, EL_CLIENTDATA, &p);
    el_set(p.el, EL_PROMPT, show_prompt);
    el_set(p.el, EL_EDITOR, "emacs");
    el_set(p.el, EL_SIGNAL, 1);
    open_history(&p);
    el_source(p.el, NULL);
    printf("%s  (.help for help)\n", client_url(q->client));
    loop(&p);
    save_history(&p);
    if (p.history)
        history_end(p.history);
    el_end(p.el);
    mem_free(p.history_path);
    buf_fini(&p.text);
    return 0;
}
