/* talk: a question to wattuned that cannot last. One deadline for all of a conversation; whatever
 * is at the other end - nobody, somebody stopped, somebody else - the answer is an error in time.
 *
 * The library's own client (src/lease/client.c) waits for a daemon to come back, which a prolog
 * must not. */
#ifndef WT_SLURM_TALK_H
#define WT_SLURM_TALK_H

#include "lease/protocol.h"

struct wt_slurm_talk {
    int fd;
    char path[128];
    int64_t until_ns, timeout_ns;
    uint32_t tag, devices;
    bool is_emulated;
    bool is_broken; /* no answer in time, or none of ours: nothing more can be asked */
};

/* Says hello. Errors: WT_E_NOTFOUND (nobody listens), WT_E_TIMEOUT, WT_E_FORMAT (no wattuned),
 * WT_E_DENIED, WT_E_IO; the text names the socket and what to do. Hang up in any case. */
int wt_slurm_dial(struct wt_slurm_talk *ret_talk, const char *path, int64_t timeout_ns,
                  struct wt_error *err);
/* Asks; *io is then the answer, of this type. A refusal is the error it carries, whatever its code,
 * and the talk can go on; is_broken is set where it cannot. */
int wt_slurm_ask(struct wt_slurm_talk *talk, struct wt_wire_message *io, enum wt_wire_type want,
                 struct wt_error *err);
void wt_slurm_hang_up(struct wt_slurm_talk *talk);

#endif
