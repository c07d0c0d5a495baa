/* machine: which machine this is, as far as files tell: its processor, its sockets, the cloud it
 * may be rented from, and whether this is a container.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_MACHINE_H
#define WT_SENSOR_MACHINE_H

#include "base/base.h"

/* So much of /proc/cpuinfo is read, with the NUL behind it. */
#define WT_MACHINE_CPUINFO_SIZE 8192

struct wt_machine {
    char vendor[16]; /* "GenuineIntel", "AuthenticAMD"; of ARM the implementer, "0x41"; or "" */
    char cpu[96];    /* the model name as /proc/cpuinfo has it, or "" */
    char name[96];   /* what people call the processor: that, of ARM the core by its number ("ARM
                        Neoverse V2"), or "" */
    char board[96];  /* of an ARM machine with a device tree, its model, or "" */
    unsigned family, model; /* CPUID's; of ARM the architecture and the part */
    bool is_amd, is_intel, is_arm;
    unsigned cpus;         /* logical processors that are online; at least 1 */
    unsigned sockets;      /* packages among them; at least 1, and 1 of a board and a VM */
    bool is_virtual;       /* the processor says that it runs under a hypervisor */
    char virtual_name[96]; /* "an Amazon EC2 instance", or "" */
    char container[24];    /* "docker", "podman", "kubernetes", "lxc", "container", or "" */
};

/* Never fails: what cannot be read stays empty or 1. */
void wt_machine_look(const struct wt_ctx *ctx, struct wt_machine *ret_machine);
/* Calls fn for each logical processor that is online, in order. Stops at a result < 0 and returns
 * it. Errors: as of /sys/devices/system/cpu/online, where fn is then called for cpu 0 alone. */
int wt_machine_cpus(const struct wt_ctx *ctx, int (*fn)(void *data, unsigned cpu), void *data);
/* The same for a list as the kernel writes them, "0-3,8". Errors: WT_E_FORMAT. */
int wt_machine_cpu_list(const char *text, int (*fn)(void *data, unsigned cpu), void *data);
/* The package and die a logical processor lies in; 0 where that cannot be read, and on a board:
 * what a device tree's kernel numbers there is clusters. */
unsigned wt_machine_package_of(const struct wt_ctx *ctx, unsigned cpu);
unsigned wt_machine_die_of(const struct wt_ctx *ctx, unsigned cpu);

#endif
