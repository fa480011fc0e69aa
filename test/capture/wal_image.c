#include "wal_image.h"

#include "base/status.h"
#include "capture/wal/bytes.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_from(const uint8_t *bytes, size_t have, void *to, size_t size, int64_t offset)
{
    if (offset < 0 || (uint64_t)offset > have || size > have - (size_t)offset)
        return STATUS_INVALID;
    memcpy(to, bytes + offset, size);
    return STATUS_OK;
}

static int read_log(void *ctx, void *to, size_t size, int64_t offset)
{
    struct wal_image *im = ctx;
    im->reads++;
    return read_from(im->log, im->log_size, to, size, offset);
}

static int read_file(void *ctx, void *to, size_t size, int64_t offset)
{
    struct wal_image *im = ctx;
    im->reads++;
    return read_from(im->file, im->file_size, to, size, offset);
}

static int file_size(void *ctx, int64_t *size)
{
    struct wal_image *im = ctx;
    *size = (int64_t)im->file_size;
    return STATUS_OK;
}

void wal_image_set(
    struct wal_image *im, uint8_t *file, size_t file_bytes, uint8_t *log, size_t log_bytes)
{
    *im = (struct wal_image){
        .file = file,
        .file_size = file_bytes,
        .log = log,
        .log_size = log_bytes,
        .source = {read_log, read_file, file_size, im},
    };
}

static uint8_t *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;
    *size = 0;
    if (!f)
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0) {
        long end = ftell(f);
        bytes = malloc(end > 0 ? (size_t)end : 1);
        rewind(f);
        if (bytes)
            *size = fread(bytes, 1, (size_t)end, f);
    }
    fclose(f);
    return bytes;
}

bool wal_image_load(struct wal_image *im, const char *path)
{
    char name[512];
    size_t file_bytes, log_bytes;
    snprintf(name, sizeof(name), "%s-wal", path);
    uint8_t *file = read_all(path, &file_bytes), *log = read_all(name, &log_bytes);
    wal_image_set(im, file, file_bytes, log, log_bytes);
    return file != NULL;
}

uint32_t wal_image_page_size(const struct wal_image *im)
{
    uint32_t size = 0;
    if (im->log_size >= WAL_HEADER)
        size = get_u32(im->log + 8);
    else if (im->file_size >= 100)
        size = get_u16(im->file + 16) == 1 ? 65536 : get_u16(im->file + 16);
    return size >= 512 && size <= 65536 && (size & (size - 1)) == 0 ? size : 0;
}

uint32_t wal_image_last(const struct wal_image *im, uint32_t page_size)
{
    static const uint8_t zero[16]; /* see log.c */
    uint32_t last = 0;
    size_t step = WAL_FRAME_HEADER + (size_t)page_size;
    for (uint32_t n = 1; WAL_HEADER + n * step <= im->log_size; n++) {
        const uint8_t *head = im->log + WAL_HEADER + (n - 1) * step;
        if (memcmp(head + 8, im->log + 16, WAL_SALT) != 0 && memcmp(head + 8, zero, 16) != 0)
            break;
        if (get_u32(head + 4))
            last = n;
    }
    return last;
}

int wal_image_open(struct wal_image *im, size_t cache_bytes)
{
    uint32_t page_size = wal_image_page_size(im);
    if (!page_size)
        return STATUS_INVALID;
    wal_log_init(&im->frames, &im->source, page_size);
    wal_pages_init(&im->pages, &im->frames, cache_bytes);
    im->open = true;
    if (im->log_size < WAL_HEADER)
        return STATUS_OK;
    wal_log_restart(&im->frames, im->log + 16);
    return wal_log_extend(&im->frames, wal_image_last(im, page_size));
}

bool wal_image_refresh(struct wal_image *im, const char *path)
{
    struct wal_image fresh;
    if (!wal_image_load(&fresh, path))
        return false;
    free(im->file);
    free(im->log);
    im->file = fresh.file;
    im->file_size = fresh.file_size;
    im->log = fresh.log;
    im->log_size = fresh.log_size;
    if (im->log_size >= WAL_HEADER && memcmp(im->frames.salt, im->log + 16, WAL_SALT) != 0) {
        wal_pages_clear(&im->pages);
        wal_log_restart(&im->frames, im->log + 16);
    }
    return wal_log_extend(&im->frames, wal_image_last(im, im->frames.page_size)) == STATUS_OK;
}

void wal_image_close(struct wal_image *im)
{
    if (im->open) {
        wal_pages_fini(&im->pages);
        wal_log_fini(&im->frames);
    }
    im->open = false;
}

void wal_image_free(struct wal_image *im)
{
    wal_image_close(im);
    free(im->file);
    free(im->log);
    *im = (struct wal_image){0};
}
