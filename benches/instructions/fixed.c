/* Preloaded while instructions are counted: a clock that stands still and random bits that are the
   same in every run, so that hash seeds and ids are, too. */

#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    now->tv_sec = 1700000000;
    now->tv_nsec = 0;
    return 0;
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
    static uint64_t state;
    (void)flags;
    for (size_t done = 0; done < length; done += sizeof state) {
        /* splitmix64 */
        uint64_t bits = (state += 0x9e3779b97f4a7c15);
        bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
        bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
        bits ^= bits >> 31;
        size_t rest = length - done;
        memcpy((char *)buffer + done, &bits, rest < sizeof bits ? rest : sizeof bits);
    }
    return (ssize_t)length;
}
