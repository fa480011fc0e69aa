#include "cli/table.h"
#include "base/mem.h"
#include "base/status.h"
#include "cli/cell.h"
#include "cli/term.h"

#include <string.h>

bool table_check(const json_t *answer)
{
    const json_t *columns = json_object_get(answer, "columns");
    const json_t *rows = json_object_get(answer, "rows");

    if (!json_is_array(columns) || !json_is_array(rows))
        return false;
    for (size_t i = 0; i < json_array_size(columns); i++)
        if (!json_is_string(json_array_get(columns, i)))
            return false;
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (!json_is_array(json_array_get(rows, i)) ||
            json_array_size(json_array_get(rows, i)) != json_array_size(columns))
            return false;
    return true;
}

static void put_spaces(struct buf *out, size_t n)
{
    while (n--)
        buf_putc(out, ' ');
}

struct column {
    size_t width;
    bool number; /* every value is a number or NULL */
};

/* The value as it will be shown, in `scratch`; running out of memory is `out`'s error. */
static size_t render(struct buf *out, struct buf *scratch, json_t *value, size_t max)
{
    size_t width;

    buf_reset(scratch);
    width = cell_put(scratch, value, max, false);
    if (buf_error(scratch))
        out->err = buf_error(scratch);
    return width;
}

static void measure(
    struct buf *out, struct column *columns, const json_t *answer, size_t max, struct buf *scratch)
{
    const json_t *names = json_object_get(answer, "columns");
    const json_t *rows = json_object_get(answer, "rows");
    size_t count = json_array_size(names);

    for (size_t c = 0; c < count; c++) {
        columns[c].width = render(out, scratch, json_array_get(names, c), max);
        columns[c].number = json_array_size(rows) > 0;
    }
    for (size_t r = 0; r < json_array_size(rows); r++) {
        for (size_t c = 0; c < count; c++) {
            json_t *value = json_array_get(json_array_get(rows, r), c);
            size_t width = render(out, scratch, value, max);

            if (width > columns[c].width)
                columns[c].width = width;
            columns[c].number = columns[c].number && (json_is_number(value) || json_is_null(value));
        }
    }
}

static void put_cell(struct buf *out, const struct column *column, json_t *value, size_t max,
    bool last, bool colour, struct buf *scratch)
{
    bool dim = colour && json_is_null(value);
    size_t width = render(out, scratch, value, max);
    size_t gap = width < column->width ? column->width - width : 0;

    if (column->number)
        put_spaces(out, gap);
    term_put_style(out, dim, TERM_DIM);
    buf_put(out, scratch->data, scratch->len);
    term_put_plain(out, dim);
    if (!last)
        put_spaces(out, (column->number ? 0 : gap) + 2);
}

static void put_header(struct buf *out, const struct column *columns, const json_t *names,
    size_t max, bool colour, struct buf *scratch)
{
    size_t count = json_array_size(names);

    for (size_t c = 0; c < count; c++) {
        term_put_style(out, colour, TERM_BOLD);
        put_cell(out, &columns[c], json_array_get(names, c), max, c + 1 == count, false, scratch);
        term_put_plain(out, colour);
    }
    buf_putc(out, '\n');
    for (size_t c = 0; c < count; c++) {
        for (size_t i = 0; i < columns[c].width; i++)
            buf_putc(out, '-');
        buf_puts(out, c + 1 == count ? "\n" : "  ");
    }
}

void table_put(struct buf *out, const json_t *answer, size_t max, bool colour)
{
    const json_t *names = json_object_get(answer, "columns");
    const json_t *rows = json_object_get(answer, "rows");
    size_t count = json_array_size(names);
    struct column *columns = mem_array(count ? count : 1, sizeof(*columns));
    struct buf scratch = {0};

    if (!columns) {
        out->err = STATUS_NOMEM;
        return;
    }
    measure(out, columns, answer, max, &scratch);
    put_header(out, columns, names, max, colour, &scratch);
    for (size_t r = 0; r < json_array_size(rows) && !buf_error(out); r++) {
        for (size_t c = 0; c < count; c++)
            put_cell(out, &columns[c], json_array_get(json_array_get(rows, r), c), max,
                c + 1 == count, colour, &scratch);
        buf_putc(out, '\n');
    }
    buf_fini(&scratch);
    mem_free(columns);
}

void table_put_csv(struct buf *out, const json_t *answer)
{
    const json_t *names = json_object_get(answer, "columns");
    const json_t *rows = json_object_get(answer, "rows");

    for (size_t r = 0; r <= json_array_size(rows); r++) {
        const json_t *row = r ? json_array_get(rows, r - 1) : names;

        for (size_t c = 0; c < json_array_size(names); c++) {
            if (c)
                buf_putc(out, ',');
            cell_put_csv(out, json_array_get(row, c));
        }
        buf_puts(out, "\r\n");
    }
}

/* "name": with a number behind it when earlier columns have the same name. */
static void put_member(struct buf *out, const json_t *names, size_t c)
{
    const char *name = json_string_value(json_array_get(names, c));
    unsigned same = 1;

    for (size_t i = 0; i < c; i++)
        same += strcmp(json_string_value(json_array_get(names, i)), name) == 0;
    buf_put_json_text(out, name);
    if (same > 1) {
        buf_truncate(out, out->len ? out->len - 1 : 0);
        buf_printf(out, ":%u\"", same);
    }
    buf_putc(out, ':');
}

/* The members' names, each with its colon, one after the other; ends[c] is where the c-th ends. */
static void put_members(struct buf *out, const json_t *names, size_t *ends)
{
    for (size_t c = 0; c < json_array_size(names); c++) {
        put_member(out, names, c);
        ends[c] = out->len;
    }
}

void table_put_objects(struct buf *out, const json_t *answer)
{
    const json_t *names = json_object_get(answer, "columns");
    const json_t *rows = json_object_get(answer, "rows");
    size_t count = json_array_size(names);
    size_t *ends = mem_array(count ? count : 1, sizeof(*ends));
    struct buf members = {0};

    if (ends)
        put_members(&members, names, ends);
    if (!ends || buf_error(&members))
        out->err = STATUS_NOMEM;
    buf_putc(out, '[');
    for (size_t r = 0; r < json_array_size(rows) && !buf_error(out); r++) {
        buf_puts(out, r ? ",\n{" : "{");
        for (size_t c = 0; c < count; c++) {
            size_t start = c ? ends[c - 1] : 0;

            if (c)
                buf_putc(out, ',');
            buf_put(out, members.data + start, ends[c] - start);
            cell_put_json(out, json_array_get(json_array_get(rows, r), c));
        }
        buf_putc(out, '}');
    }
    buf_puts(out, "]\n");
    buf_fini(&members);
    mem_free(ends);
}
