/*
 * `todod ctl`: the operator's side of the control socket (master/control.h). It needs nothing but that socket: which one it is
 * `control` says, in the same places where the daemon looks for it, and nothing else of the configuration has to be right.
 *
 * Exit codes: 0 done; 64 wrong command line; 69 nobody answers; 75 still under way when the wait was over; 77 no permission; 78 the
 * configuration was refused; 70 failed otherwise. Why is said on stderr, in one line.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

/* argv[0] is "ctl". Returns the exit code. */
int ctl_run(int argc, char *const argv[]);

#endif
