/*
 * What a fiber is at: its C frames and its script's. Written down in the handler of a fault, or when another thread asks.
 */
#ifndef SIDESTACK_SNAPSHOT_H
#define SIDESTACK_SNAPSHOT_H

#include <stdint.h>
#include <sys/types.h>

#include "thread.h"

enum { SS_FRAMES = 64, SS_SCRIPT = 2048 };

typedef struct ss_snapshot {
  uint64_t fiber;              /* its id; 0: none was current */
  int in_host;                 /* host code runs: the frames are those of who called it */
  uint32_t depth;              /* of `frames` */
  uintptr_t frames[SS_FRAMES]; /* innermost first: where it is, then return addresses */
  char script[SS_SCRIPT];      /* a line each, innermost first, terminated; empty where the guest cannot tell */
} ss_snapshot;

/*
 * Asks the interpreter thread `thread` (its gettid()) what its fiber is at, by the tick's signal. It answers whatever it runs.
 * 0 or an errno: ESRCH: there is no such thread; ETIMEDOUT: no answer within so many nanoseconds.
 * [any other thread; no; no]
 */
int ss_snapshot_take(pid_t thread, uint64_t nanoseconds, ss_snapshot *out);

/*
 * The return addresses from the frame at `frame` outwards, of a fiber that does not run and whose stack reaches from `limit`
 * to `base`. Returns how many there are. [interpreter thread; no; no]
 */
uint32_t ss_snapshot_frames(uintptr_t frame, uintptr_t limit, uintptr_t base, uintptr_t frames[SS_FRAMES]);

/* Fills in what the thread's fiber is at, from the registers of the code that was interrupted. [interpreter thread, also in a
   handler; no; no] */
void ss_snapshot_note(ss_snapshot *snapshot, const ss_thread *thread, uintptr_t pc, uintptr_t frame, uintptr_t stack);

/* The tick's signal has come, and somebody may have asked by it. 1: it was no tick. [interpreter thread, in the handler; no; no] */
int ss_snapshot_asked(const ss_thread *thread, const void *value, const void *context);

#endif
