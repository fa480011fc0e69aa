/*
 * The driver: real inputs, changed at random, the same for the same seed.
 *
 *   fuzz ENTRY|all [--seed N] [--seconds S | --minutes M | --runs N]
 *   fuzz ENTRY --seed N --run K     again the one input that failed; with --save F it goes to a
 * file fuzz ENTRY --file F             an input that libFuzzer found fuzz ENTRY --corpus DIR writes
 * the real inputs, for libFuzzer to begin with
 */
#include "fuzz.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "wal_workload.h"
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANG_SECONDS 20
#define FILE_MAX ((size_t)64 << 20)

struct options {
    uint64_t seed, runs;
    int64_t run; /* only this one; -1: all */
    double seconds;
    const char *file, *corpus, *save;
};

/* How to have what runs now again. */
static char again[200];

static void say_again(void)
{
    if (write(2, again, strlen(again)) < 0)
        _exit(3);
}

static void on_signal(int number)
{
    static const char words[] = "no end in sight\n";
    if (number == SIGALRM && write(2, words, sizeof(words) - 1) < 0)
        _exit(3);
    say_again();
    _exit(2);
}

/* The sanitizer calls this before it reports. */
void __asan_on_error(void);
void __asan_on_error(void)
{
    say_again();
}

static struct fuzz_input make_input(const struct fuzz_corpus *c, uint64_t number, uint64_t *dice)
{
    if (number >= c->count)
        return fuzz_mutate(c, dice_below(dice, (uint32_t)c->count), dice);
    const struct fuzz_input *from = &c->items[number];
    return (struct fuzz_input){fuzz_copy(from->data, from->size), from->size};
}

static bool write_file(const char *path, const struct fuzz_input *in)
{
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(in->data, 1, in->size, f) == in->size;
    if (!good)
        perror(path);
    if (f)
        fclose(f);
    return good;
}

static void run_one(const struct fuzz_entry *e, const struct fuzz_corpus *c,
    const struct options *o, uint64_t number)
{
    uint64_t seed = o->seed;
    uint64_t dice = (seed * 0x9e3779b97f4a7c15ULL ^ (number + 1) * 0xd1342543de82ef95ULL) | 1;
    dice_next(&dice);
    snprintf(again, sizeof(again), "again with: fuzz %s --seed %llu --run %llu\n", e->name,
        (unsigned long long)seed, (unsigned long long)number);
    struct fuzz_input in = make_input(c, number, &dice);
    if (o->save && !write_file(o->save, &in))
        exit(1);
    if (number >= c->count && dice_below(&dice, 16) == 0)
        mem_fail_after(dice_below(&dice, 400));
    alarm(HANG_SECONDS);
    e->run(in.data, in.size);
    alarm(0);
    mem_fail_after(-1);
    free(in.data);
}

static void fill(struct fuzz_corpus *c, const struct fuzz_entry *e, uint64_t seed)
{
    if (e->fill)
        e->fill(c, seed);
    fuzz_corpus_files(c, e->name);
    REQUIRE(c->count > 0);
}

static void run_entry(const struct fuzz_entry *e, const struct options *o)
{
    struct fuzz_corpus c = {0};
    fill(&c, e, o->seed);
    uint64_t n = 0;
    int64_t begun = clock_mono_ns();
    fuzz_accepted = 0;
    if (o->run >= 0)
        run_one(e, &c, o, (uint64_t)o->run);
    else /* the real inputs first, however long that takes */
        while (n < c.count ||
               (o->runs ? n < o->runs : (double)(clock_mono_ns() - begun) < o->seconds * 1e9))
            run_one(e, &c, o, n++);
    printf("# %s: %zu real inputs, %llu runs, %llu accepted, %.1f s, seed %llu\n", e->name, c.count,
        (unsigned long long)n, (unsigned long long)fuzz_accepted,
        (double)(clock_mono_ns() - begun) / 1e9, (unsigned long long)o->seed);
    fuzz_corpus_fini(&c);
}

static int run_file(const struct fuzz_entry *e, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    uint8_t *data = malloc(FILE_MAX);
    size_t size = fread(data, 1, FILE_MAX, f);
    fclose(f);
    uint8_t *exact = fuzz_copy(data, size);
    free(data);
    alarm(HANG_SECONDS);
    e->run(exact, size);
    free(exact);
    return 0;
}

static int write_corpus(const struct fuzz_entry *e, const struct options *o)
{
    struct fuzz_corpus c = {0};
    int result = 0;
    fill(&c, e, o->seed);
    for (size_t i = 0; i < c.count && result == 0; i++) {
        char name[600];
        snprintf(name, sizeof(name), "%s/%s-%zu", o->corpus, e->name, i);
        result = !write_file(name, &c.items[i]);
    }
    fuzz_corpus_fini(&c);
    return result;
}

static int parse(struct options *o, int argc, char **argv)
{
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--seed") == 0)
            o->seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "--runs") == 0)
            o->runs = strtoull(value, NULL, 10);
        else if (strcmp(name, "--run") == 0)
            o->run = strtoll(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0)
            o->seconds = atof(value);
        else if (strcmp(name, "--minutes") == 0)
            o->seconds = 60 * atof(value);
        else if (strcmp(name, "--file") == 0)
            o->file = value;
        else if (strcmp(name, "--corpus") == 0)
            o->corpus = value;
        else if (strcmp(name, "--save") == 0)
            o->save = value;
        else
            return -1;
    }
    return argc >= 2 && argc % 2 == 0 ? 0 : -1;
}

static int usage(void)
{
    fprintf(stderr, "usage: fuzz ENTRY|all [--seed N] [--seconds S] [--minutes M] "
                    "[--runs N] [--run K] [--save F] [--file F] [--corpus DIR]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .run = -1, .seconds = 5};
    if (parse(&o, argc, argv) < 0)
        return usage();
    int all = strcmp(argv[1], "all") == 0;
    size_t number = 0;
    signal(SIGALRM, on_signal);
    signal(SIGABRT, on_signal);
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < fuzz_entry_count; i++) {
        const struct fuzz_entry *e = &fuzz_entries[i];
        if (!all && strcmp(e->name, argv[1]) != 0)
            continue;
        if (o.file)
            return run_file(e, o.file);
        if (o.corpus)
            return write_corpus(e, &o);
        run_entry(e, &o);
        printf("ok %zu - %s\n", ++number, e->what);
        fflush(stdout);
    }
    if (!number)
        return usage();
    printf("1..%zu\n", number);
    return 0;
}
