/* Keeps what a power cut would leave of a folder: `power_cut.rs` has the idea.
 *
 * Loaded before libc into a program, with POWER_CUT_ROOT, the folder, and POWER_CUT_IMAGE, a folder
 * on the same disk, which then has
 *
 *   content/INODE   the content of a file at its last sync
 *   names/INODE     the names in a folder at its last sync: lines of inode, type (f, d) and name
 *   held/INODE      a link to each of those files, so that no other file gets its number
 *
 * A sync is only recorded, and not done: the files of a killed process stay. A file or a list is
 * replaced as a whole, so a kill leaves the earlier one.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long long inode;

/* A record that cannot be made would be taken for a loss. */
static void check(int is_well, const char *what) {
    if (!is_well) {
        fprintf(stderr, "power_cut: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static void image_path(char *path, const char *kind, inode number, const char *end) {
    const char *image = getenv("POWER_CUT_IMAGE");
    check(image != NULL, "POWER_CUT_IMAGE");
    snprintf(path, PATH_MAX, "%s/%s/%llu%s", image, kind, number, end);
}

static void hold(const char *file, inode number) {
    char held[PATH_MAX];
    image_path(held, "held", number, "");
    int done = linkat(AT_FDCWD, file, AT_FDCWD, held, AT_SYMLINK_FOLLOW);
    check(done == 0 || errno == EEXIST || errno == ENOENT, held);
}

static void record_file(int fd, inode number) {
    char self[64], temporary[PATH_MAX], path[PATH_MAX], piece[1 << 16];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    hold(self, number);
    image_path(temporary, "content", number, ".tmp");
    int from = open(self, O_RDONLY | O_CLOEXEC);
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(from >= 0 && to >= 0, temporary);
    ssize_t length;
    while ((length = read(from, piece, sizeof piece)) > 0)
        check(write(to, piece, length) == length, temporary);
    check(length == 0, self);
    close(from);
    close(to);
    image_path(path, "content", number, "");
    check(rename(temporary, path) == 0, path);
}

static void record_folder(const char *folder, inode number) {
    char temporary[PATH_MAX], path[PATH_MAX], file[PATH_MAX + NAME_MAX + 2];
    image_path(path, "names", number, "");
    image_path(temporary, "names", number, ".tmp");
    /* Several programs may sync a folder at the same time. */
    int lock = open(folder, O_RDONLY | O_CLOEXEC);
    check(lock >= 0 && flock(lock, LOCK_EX) == 0, folder);
    FILE *list = fopen(temporary, "w");
    DIR *entries = opendir(folder);
    check(list != NULL && entries != NULL, folder);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct stat st;
        snprintf(file, sizeof file, "%s/%s", folder, entry->d_name);
        int is_folder_itself = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
        if (is_folder_itself || lstat(file, &st) != 0)
            continue;
        if (S_ISREG(st.st_mode))
            hold(file, st.st_ino);
        char type = S_ISDIR(st.st_mode) ? 'd' : 'f';
        fprintf(list, "%llu %c %s\n", (inode)st.st_ino, type, entry->d_name);
    }
    closedir(entries);
    check(fclose(list) == 0 && rename(temporary, path) == 0, path);
    close(lock);
}

static int record(int fd) {
    char self[64], path[PATH_MAX];
    struct stat st;
    const char *root = getenv("POWER_CUT_ROOT");
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(self, path, sizeof path - 1);
    if (root == NULL || length < 0 || fstat(fd, &st) != 0)
        return -1;
    path[length] = '\0';
    size_t below = strlen(root);
    if (strncmp(path, root, below) != 0 || (path[below] != '/' && path[below] != '\0'))
        return 0;
    if (S_ISREG(st.st_mode))
        record_file(fd, st.st_ino);
    else if (S_ISDIR(st.st_mode))
        record_folder(path, st.st_ino);
    return 0;
}

int fsync(int fd) { return record(fd); }

int fdatasync(int fd) { return record(fd); }
