/*
 * Where this program lies, as it was called: what an upgrade executes.
 */
#ifndef SERVICE_PROGRAM_H
#define SERVICE_PROGRAM_H

/*
 * The absolute path of the running program, owned. As argv[0] names it, if that leads to it: a symbolic link that is moved to another
 * version is followed anew then. Otherwise as the kernel knows it (proc(5), /proc/self/exe). To be called at the start, before the file
 * is replaced.
 */
char *program_path(const char *argv0);

#endif
