#include "base/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map(struct shm *shm, int fd, size_t size, struct err *err)
{
	void *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		return err_set(err, EXIT_CODE_OS, "cannot map %zu bytes of shared memory: %s", size,
			       strerror(errno));
	*shm = (struct shm){fd, addr, size};
	return 0;
}

int shm_open_new(struct shm *shm, const char *name, size_t size, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		return err_set(err, EXIT_CODE_OS, "memfd_create: %s", strerror(errno));
	if (ftruncate(fd, (off_t)size) != 0)
		err_set(err, EXIT_CODE_OS, "cannot have %zu bytes of shared memory: %s", size,
			strerror(errno));
	else if (map(shm, fd, size, err) == 0)
		return 0;
	close(fd);
	return -1;
}

int shm_open_fd(struct shm *shm, int fd, size_t size, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || st.st_size != (off_t)size || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return err_set(err, EXIT_CODE_OS, "descriptor %d holds no shared memory of %zu bytes", fd,
			       size);
	return map(shm, fd, size, err);
}

void shm_close(struct shm *shm)
{
	if (shm->addr)
		munmap(shm->addr, shm->size);
	if (shm->fd >= 0)
		close(shm->fd);
	*shm = (struct shm){-1, NULL, 0};
}
