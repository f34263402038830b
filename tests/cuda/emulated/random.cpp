// In place of libcurand, which candle opens with every GPU. Our random numbers are our own on all devices,
// so nothing is ever drawn from it.

extern "C" {
int curandCreateGenerator(void **generator, int) { return *generator = (void *)1, 0; }
int curandSetStream(void *, void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetGeneratorOffset(void *, unsigned long long) { return 0; }
int curandDestroyGenerator(void *) { return 0; }
}
