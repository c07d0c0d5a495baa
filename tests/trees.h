/* trees: small file trees that tests make, copy and damage, to be read with --sysroot. */
#ifndef WT_TESTS_TREES_H
#define WT_TESTS_TREES_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/base.h"

/* A test whose tree cannot be made tests nothing. */
static inline void tree_must(bool is_done, const char *what, const char *path)
{
    if (is_done)
        return;
    fprintf(stderr, "tree: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

/* Puts text where path is below root, making its folders. */
static inline void tree_put(const char *root, const char *path, const char *text)
{
    char full[1024];
    wt_text(full, sizeof(full), "%s%s", root, path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    tree_must(wt_fs_mkdirs(full, 0755, NULL) == 0, "make", full);
    *slash = '/';
    FILE *f = fopen(full, "we");
    tree_must(f && fputs(text, f) != EOF, "write", full);
    tree_must(fclose(f) == 0, "write", full);
}

/* The same as the kernel does it: the text and a line's end. */
static inline void tree_put_line(const char *root, const char *path, const char *text)
{
    char line[4096];
    tree_must(strlen(text) + 2 <= sizeof(line), "a line too long for", path);
    tree_put(root, path, wt_text(line, sizeof(line), "%s\n", text));
}

static inline void tree_remove(const char *root, const char *path)
{
    char full[1024];
    tree_must(unlink(wt_text(full, sizeof(full), "%s%s", root, path)) == 0, "remove", full);
}

/* The whole content, owned by the caller; NULL when there is no such file. */
static inline char *tree_get(const char *root, const char *path)
{
    char full[1024];
    FILE *f = fopen(wt_text(full, sizeof(full), "%s%s", root, path), "re");
    if (!f)
        return NULL;
    char *text = calloc(1, 1 << 20);
    tree_must(text != NULL, "no memory for", full);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static _Thread_local const char *tree_from, *tree_to;

static inline int tree_copy_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    const char *below = path + strlen(tree_from);
    char full[1024];
    if (type == FTW_D)
        return wt_fs_mkdirs(wt_text(full, sizeof(full), "%s%s", tree_to, below), 0755, NULL);
    char *text = tree_get(tree_from, below);
    if (!text)
        return -1;
    tree_put(tree_to, below, text);
    free(text);
    return 0;
}

/* Copies a tree of text files. */
static inline void tree_copy(const char *from, const char *to)
{
    tree_from = from;
    tree_to = to;
    tree_must(nftw(from, tree_copy_one, 16, FTW_PHYS) == 0, "copy", from);
}

/* A fresh folder, in memory where that may hold programs, too: a container's often may not. */
static inline void tree_new(char *buf, size_t size)
{
    struct statvfs fs;
    bool is_memory =
        access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &fs) == 0 && !(fs.f_flag & ST_NOEXEC);
    wt_text(buf, size, "%s/wattune-tree-XXXXXX", is_memory ? "/dev/shm" : "/tmp");
    tree_must(mkdtemp(buf) != NULL, "make", buf);
}

static inline void tree_done(const char *root)
{
    tree_must(wt_fs_remove_tree(root, NULL) == 0, "remove", root);
}

#endif
