/*
 * Interrupts. A tick sets the executor's vm_interrupt of the context that runs, which the engine looks at on loops and calls;
 * there it calls look_up(), which asks the host. What the host answers: nothing, perhaps after others had their turn; an
 * ordinary exception (a cancel, phase a); or the kill, an exception that nothing catches and that skips every `finally`.
 * As the interrupt bits of a cancel stay set until the fiber is gone, each later look-up kills again.
 */
#include "interrupt.h"

#include "errors.h"
#include "timer.h"

static void (*next_interrupt)(zend_execute_data *);

/* [fiber; may suspend; may raise] */
static void look_up(zend_execute_data *execute_data) {
  ss_thread *thread = &ss_thread_state;
  ssphp_run *run = ssphp_here()->run;
  if (thread->interrupt != 0 && thread->place == SS_ON_FIBER && !thread->in_host) {
    ss_call call;
    ss_call_begin(&call);
    int status = ss_poll(&call, 0);
    if (status == SS_KILL) {
      run->killed = 1;
      ssphp_kill();
    } else if (status == SS_ERROR) {
      ssphp_throw_host(call.values);
    }
    ss_host_end(&call);
    if (run != NULL && run->context != NULL) ssphp_timer_enter(run); /* the look-up has set the deadline anew */
  }
  if (EG(exception) == NULL) ssphp_timer_check();
  if (next_interrupt != NULL) next_interrupt(execute_data);
}

/* [PHP's start; no; no] */
void ssphp_interrupt_open(void) {
  next_interrupt = zend_interrupt_function;
  zend_interrupt_function = look_up;
}

/* [signal handler on the interpreter thread; no; no] */
void ssphp_interrupt(void) {
  ssphp *home = ss_thread_state.guest;
  if (home == NULL || home->loaded == NULL || !home->loaded->open) return;
  zend_atomic_bool_store_ex(&EG(vm_interrupt), true);
}
