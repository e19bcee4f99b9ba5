/* A disk that loses what was not synced, under a process that does not know of it.
 *
 * Preloaded before libc, it writes down at each fsync and fdatasync below DISK_ROOT what survives a
 * power failure from then on: of a file the content it had when the call began, of a directory the
 * names it had. All else is lost. What is written down stands in DISK_KEPT, by inode: data-INODE,
 * names-INODE. Hard links there keep inodes from being used again. `disk_fails` is the failure:
 * no sync returns after it, also none that is under way, and nothing of it is written down.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int failed;

void disk_fails(void) { atomic_store(&failed, 1); }

static int keep_data(int fd, const char *path, const char *kept, const struct stat *now,
                     const char *target) {
    char link_path[4096], buffer[65536], self[64];
    snprintf(link_path, sizeof link_path, "%s/link-%lu", kept, (unsigned long)now->st_ino);
    link(path, link_path);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int from = open(self, O_RDONLY | O_CLOEXEC);
    int to = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t at = 0;
    while (from >= 0 && to >= 0 && at < now->st_size) {
        off_t left = now->st_size - at;
        ssize_t got = pread(from, buffer, left < (off_t)sizeof buffer ? left : sizeof buffer, at);
        if (got <= 0 || write(to, buffer, got) != got) break;
        at += got;
    }
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    return at == now->st_size;
}

static int keep_names(const char *path, const char *target) {
    DIR *directory = opendir(path);
    FILE *out = fopen(target, "we");
    struct dirent *entry;
    if (!directory || !out) return 0;
    while ((entry = readdir(directory)))
        fprintf(out, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
    closedir(directory);
    return fclose(out) == 0;
}

static int synced(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *root = getenv("DISK_ROOT"), *kept = getenv("DISK_KEPT");
    const char *delay = getenv("DISK_DELAY_US");
    char self[64], path[4096], coming[4096], target[4096];
    struct stat now;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(self, path, sizeof path - 1);
    if (!root || !kept || length <= 0 || fstat(fd, &now)) return real(fd);
    path[length] = 0;
    if (strncmp(path, root, strlen(root))) return real(fd);
    pthread_mutex_lock(&lock);
    const char *kind = S_ISDIR(now.st_mode) ? "names" : "data";
    snprintf(target, sizeof target, "%s/%s-%lu", kept, kind, (unsigned long)now.st_ino);
    snprintf(coming, sizeof coming, "%s/coming", kept);
    int whole = S_ISDIR(now.st_mode) ? keep_names(path, coming)
                                     : keep_data(fd, path, kept, &now, coming);
    if (delay) usleep(atoi(delay));
    int result = real(fd);
    /* Without power nothing comes back, and nobody goes on from there. */
    while (atomic_load(&failed)) pause();
    if (!result && whole) rename(coming, target);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
