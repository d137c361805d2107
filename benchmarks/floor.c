/* The floor of a merge: read two files, write n, fsync — by the fastest way known on this file system.
 *
 *   floor INPUT_A INPUT_B OUTPUT…
 *
 * One thread per input reads it from end to end in blocks; A's reader writes its blocks to the outputs (and B's bytes
 * are read and dropped). Outputs are preallocated and written in windows: write-back is started behind the writer,
 * waited for some windows later, and the pages are dropped.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (1 << 20)
#define WINDOW (8 << 20)
#define BEHIND 4

static void fail(const char *what) { perror(what); exit(1); }

static void *read_all(void *name) {
    char *buffer = malloc(PIECE);
    int in = open(name, O_RDONLY);
    if (in < 0) fail(name);
    while (read(in, buffer, PIECE) > 0) {}
    close(in);
    free(buffer);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    pthread_t other;
    pthread_create(&other, NULL, read_all, argv[2]);
    int in = open(argv[1], O_RDONLY), outputs = argc - 3, out[16];
    struct stat status;
    if (in < 0 || fstat(in, &status)) fail(argv[1]);
    for (int k = 0; k < outputs; k++) {
        out[k] = open(argv[3 + k], O_CREAT | O_TRUNC | O_WRONLY, 0644);
        if (out[k] < 0 || posix_fallocate(out[k], 0, status.st_size)) fail(argv[3 + k]);
    }
    char *buffer = malloc(PIECE);
    ssize_t count;
    for (off_t at = 0; (count = read(in, buffer, PIECE)) > 0; at += count)
        for (int k = 0; k < outputs; k++) {
            if (pwrite(out[k], buffer, count, at) != count) fail("pwrite");
            off_t end = at + count;
            if (end % WINDOW) continue;
            sync_file_range(out[k], end - WINDOW, WINDOW, SYNC_FILE_RANGE_WRITE);
            off_t old = end - WINDOW * BEHIND;
            if (old < 0) continue;
            sync_file_range(out[k], old, WINDOW,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
            posix_fadvise(out[k], old, WINDOW, POSIX_FADV_DONTNEED);
        }
    for (int k = 0; k < outputs; k++)
        if (fsync(out[k]) || close(out[k])) fail("fsync");
    pthread_join(other, NULL);
    return 0;
}
