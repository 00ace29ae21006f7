/*
 * The control socket: how a program of the operator's talks to the master. A unix socket, mode 0600; heard is root, and who the master
 * runs as (SO_PEERCRED, unix(7)). The master never waits for a client: who says no line within CONTROL_PATIENCE_MS, or does not take its
 * answer, is cut.
 *
 * A request is a line of words with one blank between them. An answer is lines, with an empty one at its end; the first is `ok`, with a
 * number behind it where one is given out, or `error CODE REASON`, a code of base/err.h. A connection may ask several times, one after
 * the other.
 *
 *     status             ok, and then a fact a line, as below
 *     reload             ok N: as SIGHUP does; it is the reload of that number
 *     upgrade            ok N: as SIGUSR2 does
 *     await reload N     answered when that one has ended: ok, or error 78 for a configuration that was refused, else 70. Where several
 *     await upgrade N    were asked for at once, one does for all
 *     workers N          ok: so many are wanted from now on, until the next reload
 *     stop               ok: as SIGTERM does
 *     await stop         not answered: the connection ends with the process
 *
 * The facts of `status`, each a word and its fields; `-` for what is not known; what the last field says may have blanks in it. More
 * words, and more fields in front of the last, may come with later versions.
 *
 *     version TEXT
 *     pid NUMBER
 *     state serves|drains|stops
 *     uptime_ms NUMBER
 *     program TEXT           what an upgrade executes
 *     configuration TEXT     its file; and where todos and first page are kept, without passwords
 *     store TEXT
 *     cache TEXT
 *     workers NUMBER         that are wanted
 *     listener QUEUED LIMIT NAME                connections that nobody has accepted yet, and how many there may be
 *     generation NUMBER boots|serves|drains PROCESSES AGE_MS LEAVES_IN_MS
 *     process KIND INDEX PID GENERATION STATE AGE_MS CONNECTIONS REQUESTS RESIDENT_BYTES
 *     reload NUMBER none|pending|succeeded|failed ENDED_MS_AGO REASON          the last one, its number
 *     upgrade NUMBER none|pending|succeeded|failed ENDED_MS_AGO REASON
 */
#ifndef MASTER_CONTROL_H
#define MASTER_CONTROL_H

enum {
	CONTROL_LINE_BYTES = 256, /* of a request, its line break included */
	CONTROL_PATIENCE_MS = 5000,
	CONTROL_CLIENTS = 8,  /* at a time, in two kinds: who has something to say, */
	CONTROL_WAITING = 16, /* and who awaits something. Others wait in the socket's queue */
	CONTROL_REQUESTS = 8, /* of a connection, then it is cut */
};

#endif
