#include "cli/bench_result.h"
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_WIDTH 14 /* of labels */

void bench_result_fini(struct bench_result *r)
{
    buf_fini(&r->title);
}

void bench_result_put(struct bench_result *r, struct bench_figure figure)
{
    assert(r->count < BENCH_FIGURES_MAX);
    if (!isfinite(figure.value))
        figure.value = 0;
    if (figure.kind == BENCH_RATE && figure.value < 1000)
        figure.digits = 1;
    r->figures[r->count++] = figure;
}

void bench_result_parameter(struct bench_result *r, const char *name, double value)
{
    bench_result_put(
        r, (struct bench_figure){.kind = BENCH_PARAMETER, .name = name, .value = value});
}

void bench_result_histogram(
    struct bench_result *r, const char *group, const char *label, const struct histogram *h)
{
    static const struct {
        const char *name;
        double part;
    } percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}};

    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
        bench_result_put(r, (struct bench_figure){.kind = BENCH_COST,
                                .group = group,
                                .name = percentiles[i].name,
                                .label = label,
                                .unit = "ms",
                                .value = (double)histogram_at(h, percentiles[i].part) / 1e6,
                                .digits = 3});
}

/* Earlier results. */

json_t *bench_result_load(const char *path, struct buf *err)
{
    FILE *file = fopen(path, "re");
    json_t *all = json_array();
    char *line = NULL, why[128];
    size_t cap = 0;
    ssize_t n;

    if (!file)
        buf_printf(err, "cannot read %s: %s", path, strerror(errno));
    while (file && all && (n = getline(&line, &cap, file)) > 0) {
        json_t *result = json_read(line, (size_t)n, why, sizeof(why));

        if (json_is_object(result)) {
            json_array_append_new(all, result);
            continue;
        }
        json_decref(result);
        buf_printf(err, "%s is not what rowtap bench --format json prints", path);
        break;
    }
    free(line);
    if (file)
        fclose(file);
    if (!err->len)
        return all;
    json_decref(all);
    return NULL;
}

static bool same(const struct bench_result *r, const json_t *e)
{
    const char *test = json_string_value(json_object_get(e, "test"));

    if (!test || strcmp(test, r->test) != 0)
        return false;
    for (int i = 0; i < r->count; i++) {
        const struct bench_figure *f = &r->figures[i];
        const json_t *v = json_object_get(e, f->name);

        if (f->kind != BENCH_PARAMETER)
            continue;
        if (f->word ? !json_is_string(v) || strcmp(json_string_value(v), f->word) != 0
                    : !json_is_number(v) || json_number_value(v) != f->value)
            return false;
    }
    return true;
}

/* The result of the same measurement in what was before, or NULL. */
static const json_t *find(const struct bench_result *r, const json_t *earlier)
{
    for (size_t i = 0; i < json_array_size(earlier); i++)
        if (same(r, json_array_get(earlier, i)))
            return json_array_get(earlier, i);
    return NULL;
}

/* Now by before; 0 when there is nothing to compare. */
static double ratio(const struct bench_figure *f, const json_t *before)
{
    const json_t *in = f->group ? json_object_get(before, f->group) : before;
    double v = json_number_value(json_object_get(in, f->name));

    return f->kind == BENCH_PARAMETER || v == 0 ? 0 : f->value / v;
}

/* Text. */

static void put_ratio(struct buf *out, const struct bench_figure *f, const json_t *before)
{
    double by = ratio(f, before);

    if (by != 0 && f->kind != BENCH_FACT)
        buf_printf(out, " (%.2f of before)", by);
}

static int put_group(const struct bench_result *r, int first, const json_t *before, struct buf *out)
{
    const struct bench_figure *f = &r->figures[first];
    int i = first;

    buf_printf(out, "%-*s", LINE_WIDTH, f->label);
    for (; i < r->count && f->group == r->figures[i].group; i++) {
        const struct bench_figure *g = &r->figures[i];

        buf_printf(out, "%s%s %.2f %s", i > first ? "  " : "", g->name, g->value, g->unit);
        put_ratio(out, g, before);
    }
    buf_putc(out, '\n');
    return i;
}

void bench_result_text(const struct bench_result *r, const json_t *earlier, struct buf *out)
{
    const json_t *before = find(r, earlier);

    buf_put(out, r->title.data, r->title.len);
    buf_putc(out, '\n');
    for (int i = 0; i < r->count;) {
        const struct bench_figure *f = &r->figures[i];

        if (!f->label) {
            i++;
        } else if (f->group) {
            i = put_group(r, i, before, out);
        } else {
            buf_printf(out, "%-*s%12.*f %s", LINE_WIDTH, f->label, f->digits, f->value, f->unit);
            put_ratio(out, f, before);
            buf_putc(out, '\n');
            i++;
        }
    }
    buf_printf(out, "%s: %s\n", r->checked, r->good ? "yes" : "no");
    if (earlier && !before)
        buf_puts(out, "nothing to compare with: no earlier result has the same parameters\n");
}

/* JSON. */

static void put_number(struct buf *out, const struct bench_figure *f)
{
    if (f->word)
        buf_put_json_text(out, f->word);
    else
        buf_printf(out, "%.*f", f->digits, f->value);
}

static void put_ratios(const struct bench_result *r, const json_t *before, struct buf *out)
{
    const char *separator = "";

    buf_puts(out, ",\"ratios\":{");
    for (int i = 0; i < r->count; i++) {
        const struct bench_figure *f = &r->figures[i];
        double by = ratio(f, before);

        if (by == 0 || f->kind == BENCH_FACT)
            continue;
        buf_printf(out, "%s\"%s%s%s\":%.3f", separator, f->group ? f->group : "",
            f->group ? "." : "", f->name, by);
        separator = ",";
    }
    buf_putc(out, '}');
}

void bench_result_json(const struct bench_result *r, const json_t *earlier, struct buf *out)
{
    const json_t *before = find(r, earlier);

    buf_printf(out, "{\"test\":\"%s\"", r->test);
    for (int i = 0; i < r->count; i++) {
        const struct bench_figure *f = &r->figures[i];
        bool begins = f->group && (!i || r->figures[i - 1].group != f->group);
        bool ends = f->group && (i + 1 == r->count || r->figures[i + 1].group != f->group);

        if (begins)
            buf_printf(out, ",\"%s\":{\"%s\":", f->group, f->name);
        else
            buf_printf(out, ",\"%s\":", f->name);
        put_number(out, f);
        if (ends)
            buf_putc(out, '}');
    }
    if (before)
        put_ratios(r, before, out);
    buf_printf(out, ",\"onceAndInOrder\":%s}\n", r->good ? "true" : "false");
}
