package io.winnow.core.internal.kernel;

import ai.djl.pytorch.jni.IValue;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * How a block joins the residual: the norm of its input, the norm of its output, and the factor
 * with which that is added. The tensors stay with whom they belong to. Thread-safe.
 */
public final class Junction {
  private final @Nullable DeviceTensor before;
  private final @Nullable DeviceTensor behind;
  private final double factor;
  private @Nullable IValue script;

  /**
   * Creates it.
   *
   * @param before the weight of the norm before the block, or null
   * @param behind that of the norm behind it, or null
   */
  public Junction(@Nullable DeviceTensor before, @Nullable DeviceTensor behind, double factor) {
    this.before = before;
    this.behind = behind;
    this.factor = factor;
  }

  /** Creates the one before a decoder's head. */
  public static Junction ofHead(DeviceTensor norm) {
    return new Junction(norm, null, 1);
  }

  /** Returns the weight of the norm before the block, or null. */
  public @Nullable DeviceTensor before() {
    return before;
  }

  /** Returns the weight of the norm behind the block, or null. */
  public @Nullable DeviceTensor behind() {
    return behind;
  }

  /** Returns the factor of what is added. */
  public double factor() {
    return factor;
  }

  /**
   * Returns the factor of the parts that a sum consists of: where that is normalised, the factor is
   * not theirs.
   */
  public float factorOfParts() {
    return behind == null ? (float) factor : 1;
  }

  /** Returns whether there is a norm before the block, and nothing else. */
  public boolean isPlain() {
    return before != null && behind == null;
  }

  /** Returns it as a TorchScript object, made on first use; whoever makes it sees to its end. */
  public synchronized IValue script(Function<Junction, IValue> make) {
    IValue current = script;
    if (current == null) {
      current = make.apply(this);
      script = current;
    }
    return current;
  }
}
