/* Counts calls that obtain or return memory, see malloc_wrap.c. */
#ifndef KVC_TESTS_MALLOC_WRAP_H
#define KVC_TESTS_MALLOC_WRAP_H

/* Begins (1) or ends (0) the counting. */
void malloc_calls_arm(int on);
/* Calls counted, by any thread. */
unsigned long malloc_calls_count(void);
/* The name of the function that was called first; empty for none. */
const char *malloc_calls_first(void);

#endif
