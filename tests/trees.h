/* trees: small file trees that tests make, copy and damage, to be read with --sysroot. */
#ifndef WT_TESTS_TREES_H
#define WT_TESTS_TREES_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

/* Puts text where path is below root, making its folders. */
static inline void tree_put(const char *root, const char *path, const char *text)
{
    char full[1024];
    wt_text(full, sizeof(full), "%s%s", root, path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    if (wt_fs_mkdirs(full, 0755, NULL) < 0)
        abort();
    *slash = '/';
    FILE *f = fopen(full, "we");
    if (!f || fputs(text, f) == EOF || fclose(f) == EOF)
        abort();
}

static inline void tree_remove(const char *root, const char *path)
{
    char full[1024];
    if (unlink(wt_text(full, sizeof(full), "%s%s", root, path)) < 0)
        abort();
}

/* The whole content, owned by the caller; NULL when there is no such file. */
static inline char *tree_get(const char *root, const char *path)
{
    char full[1024];
    FILE *f = fopen(wt_text(full, sizeof(full), "%s%s", root, path), "re");
    if (!f)
        return NULL;
    char *text = calloc(1, 1 << 20);
    if (!text)
        abort();
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
    if (nftw(from, tree_copy_one, 16, FTW_PHYS) != 0)
        abort();
}

/* A fresh folder in a file system of memory where there is one. */
static inline void tree_new(char *buf, size_t size)
{
    wt_text(buf, size, "%s/wattune-tree-XXXXXX",
            access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(buf))
        abort();
}

static inline void tree_done(const char *root)
{
    (void)wt_fs_remove_tree(root, NULL);
}

#endif
