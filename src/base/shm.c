#include "base/shm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int shm_open_new(struct shm *shm, const char *name, size_t size, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		return err_set(err, EXIT_CODE_OS, "memfd_create: %s", strerror(errno));
	void *addr = MAP_FAILED;
	if (ftruncate(fd, (off_t)size) == 0)
		addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED) {
		err_set(err, EXIT_CODE_OS, "cannot map %zu bytes of shared memory: %s", size,
			strerror(errno));
		close(fd);
		return -1;
	}
	*shm = (struct shm){fd, addr, size};
	return 0;
}

void shm_close(struct shm *shm)
{
	if (shm->addr)
		munmap(shm->addr, shm->size);
	if (shm->fd >= 0)
		close(shm->fd);
	*shm = (struct shm){-1, NULL, 0};
}
