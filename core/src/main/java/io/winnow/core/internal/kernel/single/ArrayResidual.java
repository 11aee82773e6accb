package io.winnow.core.internal.kernel.single;

import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;

/** The residual of a single token as an array {@code [hiddenSize]}. */
final class ArrayResidual extends Residual {
  private final float[] values;

  /** Creates it; the array is taken over. */
  ArrayResidual(float[] values) {
    this.values = values;
  }

  /** Returns the array of a residual that these steps have made. */
  static float[] values(Residual residual) {
    return ((ArrayResidual) residual).values;
  }

  @Override
  public DeviceTensor hidden() {
    throw new IllegalStateException("The residual is an array");
  }

  @Override
  public void close() {}
}
