/* The floor of a merge: read two files, write n, fsync — by the fastest way known on this file system.
 *
 *   floor direct|buffered INPUT_A INPUT_B OUTPUT…
 *
 * Four threads copy A piece by piece to the outputs while two read B (whose bytes are dropped); outputs are
 * preallocated. `direct` writes with O_DIRECT, which costs a tenth of the processor time of any way through the page
 * cache; `buffered` writes in windows: write-back is started behind the writer, waited for some windows later, and the
 * pages are dropped. The benchmark runs both and takes the faster one.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (4L << 20)
#define READ (1L << 20)
#define SECTOR 4096L
#define COPIERS 4
#define READERS 2
#define BEHIND 4
#define MOST 16

static int direct, in[2], outputs, out[MOST];
static off_t sizes[2], next_piece[2];

static void fail(const char *what) { perror(what); exit(1); }

static void fill(int file, char *buffer, off_t at, ssize_t wanted, int keep) {
    for (ssize_t done = 0; done < wanted;) {
        ssize_t step = wanted - done < READ ? wanted - done : READ;
        ssize_t count = pread(file, keep ? buffer + done : buffer, (size_t)step, at + done);
        if (count <= 0) fail("pread");
        done += count;
    }
}

static void *read_rest(void *unused) {
    char *buffer = malloc(READ);
    off_t at;
    while ((at = __atomic_fetch_add(&next_piece[1], PIECE, __ATOMIC_RELAXED)) < sizes[1])
        fill(in[1], buffer, at, sizes[1] - at < PIECE ? sizes[1] - at : PIECE, 0);
    free(buffer);
    return unused;
}

static void *copy(void *unused) {
    char *buffer = aligned_alloc(2L << 20, PIECE);
    off_t at, behind[BEHIND] = {0};
    madvise(buffer, PIECE, MADV_HUGEPAGE); /* a request of many small pages takes the disk half as long again */
    memset(buffer, 0, PIECE);
    for (int turn = 0; (at = __atomic_fetch_add(&next_piece[0], PIECE, __ATOMIC_RELAXED)) < sizes[0]; turn++) {
        ssize_t count = sizes[0] - at < PIECE ? sizes[0] - at : PIECE;
        fill(in[0], buffer, at, count, 1);
        ssize_t whole = direct ? (count + SECTOR - 1) / SECTOR * SECTOR : count;
        for (int k = 0; k < outputs; k++) {
            if (pwrite(out[k], buffer, (size_t)whole, at) != whole) fail("pwrite");
            if (direct) continue;
            sync_file_range(out[k], at, count, SYNC_FILE_RANGE_WRITE);
            if (turn < BEHIND) continue;
            sync_file_range(out[k], behind[turn % BEHIND], PIECE,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
            posix_fadvise(out[k], behind[turn % BEHIND], PIECE, POSIX_FADV_DONTNEED);
        }
        behind[turn % BEHIND] = at;
    }
    free(buffer);
    return unused;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc - 4 > MOST) return 2;
    direct = !strcmp(argv[1], "direct");
    outputs = argc - 4;
    for (int k = 0; k < 2; k++) {
        struct stat status;
        in[k] = open(argv[2 + k], O_RDONLY);
        if (in[k] < 0 || fstat(in[k], &status)) fail(argv[2 + k]);
        sizes[k] = status.st_size;
    }
    for (int k = 0; k < outputs; k++) {
        out[k] = open(argv[4 + k], O_CREAT | O_TRUNC | O_WRONLY | (direct ? O_DIRECT : 0), 0644);
        if (out[k] < 0 || posix_fallocate(out[k], 0, sizes[0])) fail(argv[4 + k]);
    }
    pthread_t threads[COPIERS + READERS];
    for (int k = 0; k < COPIERS + READERS; k++) pthread_create(&threads[k], NULL, k < COPIERS ? copy : read_rest, NULL);
    for (int k = 0; k < COPIERS + READERS; k++) pthread_join(threads[k], NULL);
    for (int k = 0; k < outputs; k++)
        if (ftruncate(out[k], sizes[0]) || fsync(out[k]) || close(out[k])) fail("fsync");
    return 0;
}
