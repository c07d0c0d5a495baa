/* replay: a fuzz target over the files of its corpus, with any compiler. usage: NAME DIR */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define MAX_BYTES (4u << 20)

int main(int argc, char **argv)
{
    uint8_t *data = malloc(MAX_BYTES);
    DIR *dir = argc == 2 && data ? opendir(argv[1]) : NULL;
    size_t files = 0;
    if (!dir) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        free(data);
        return 2;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        FILE *f = fopen(path, "re");
        if (!f)
            continue;
        size_t size = fread(data, 1, MAX_BYTES, f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, size);
        files++;
    }
    closedir(dir);
    free(data);
    printf("%zu files\n", files);
    return files ? 0 : 1;
}
