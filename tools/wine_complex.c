/* The functions for complex numbers that Windows' C runtime has, that numpy imports from it, and that Wine's lacks.
 *
 * Microsoft's complex numbers are structures, passed and returned as such; those of the compiler are not. So each
 * function here has the structure outside and the compiler's type inside. `long double` is `double` there.
 */
#include <complex.h>
#include <math.h>

typedef struct { double real, imaginary; } Complex;
typedef struct { float real, imaginary; } FloatComplex;

static double complex given(double real, double imaginary) {
  return __builtin_complex(real, imaginary);
}

static Complex result(double complex of) {
  Complex it = {creal(of), cimag(of)};
  return it;
}

static FloatComplex float_result(double complex of) {
  FloatComplex it = {(float)creal(of), (float)cimag(of)};
  return it;
}

#define OF_ONE(name)                                                                        \
  Complex w_##name(Complex a) { return result(name(given(a.real, a.imaginary))); }          \
  Complex w_##name##l(Complex a) { return w_##name(a); }                                    \
  FloatComplex w_##name##f(FloatComplex a) { return float_result(name(given(a.real, a.imaginary))); }

OF_ONE(ccos)
OF_ONE(ccosh)
OF_ONE(cexp)
OF_ONE(csin)
OF_ONE(csinh)
OF_ONE(ctan)
OF_ONE(ctanh)

Complex w_cpow(Complex a, Complex b) {
  return result(cpow(given(a.real, a.imaginary), given(b.real, b.imaginary)));
}
Complex w_cpowl(Complex a, Complex b) { return w_cpow(a, b); }
FloatComplex w_cpowf(FloatComplex a, FloatComplex b) {
  return float_result(cpow(given(a.real, a.imaginary), given(b.real, b.imaginary)));
}

#define TO_REAL(name, of)                                                                   \
  double w_##name(Complex a) { return of; }                                                 \
  double w_##name##l(Complex a) { return of; }                                              \
  float w_##name##f(FloatComplex a) { return (float)(of); }

TO_REAL(cabs, hypot(a.real, a.imaginary))
TO_REAL(carg, atan2(a.imaginary, a.real))
TO_REAL(creal, a.real)
TO_REAL(cimag, a.imaginary)
