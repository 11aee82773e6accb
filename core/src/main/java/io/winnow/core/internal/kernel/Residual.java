package io.winnow.core.internal.kernel;

import io.winnow.core.internal.kernel.array.DeviceTensor;

/**
 * The residual {@code [sequences * tokens, hiddenSize]} in float32 between two layers, in the form
 * in which a kernel hands it on: as a tensor, or as one that only this kernel knows. Closing it
 * closes what it holds.
 */
public abstract class Residual implements AutoCloseable {
  /** Creates a residual to which nothing is to be added; takes the tensor over. */
  public static Residual of(DeviceTensor hidden) {
    return new Settled(hidden);
  }

  /**
   * Returns the residual as a tensor.
   *
   * @throws IllegalStateException if only the kernel that made it can {@link Kernel#settle} it
   */
  public abstract DeviceTensor hidden();

  @Override
  public abstract void close();

  private static final class Settled extends Residual {
    private final DeviceTensor hidden;

    Settled(DeviceTensor hidden) {
      this.hidden = hidden;
    }

    @Override
    public DeviceTensor hidden() {
      return hidden;
    }

    @Override
    public void close() {
      hidden.close();
    }
  }
}
