package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TorchScriptModule;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The frequencies of a rotary embedding, and the factors of all positions that were needed so far.
 * Thread-safe; what it holds belongs to its manager.
 */
public final class RotaryTable {
  private static final int BLOCK = 1024;

  private final NDManager manager;
  private final RotaryConfig config;
  private final NDArray inverseFrequencies;
  private final @Nullable RotaryTable longer;
  private volatile @Nullable DeviceTensor factors;
  private volatile float[][] rows = {};

  /**
   * Creates an empty table.
   *
   * @param manager owns the factors, on the model's device
   */
  public RotaryTable(NDManager manager, RotaryConfig config) {
    this.manager = manager;
    this.config = config;
    inverseFrequencies = manager.create(config.inverseFrequencies());
    RotaryConfig.Longer ofLong = config.longer();
    longer =
        ofLong == null
            ? null
            : new RotaryTable(
                manager,
                new RotaryConfig(
                    ofLong.inverseFrequencies(), ofLong.factor(), config.interleaved()));
  }

  /** Returns the table for sequences of so many tokens, those in the cache included. */
  public RotaryTable of(int length) {
    RotaryConfig.Longer ofLong = config.longer();
    return longer == null || ofLong == null || length <= ofLong.above() ? this : longer;
  }

  /** Returns the rotation. */
  public RotaryConfig config() {
    return config;
  }

  /** Returns the frequencies {@code [rotarySize / 2]} float32. */
  public NDArray inverseFrequencies() {
    return inverseFrequencies;
  }

  /** Returns one position's factors: cosines, then sines with their signs. */
  public float[] row(TorchScriptModule module, int position) {
    float[][] current = rows;
    if (position >= current.length) {
      float[] all = factors(module, position + 1).array().toFloatArray();
      int size = 2 * 2 * (int) inverseFrequencies.size();
      current = new float[all.length / size][];
      for (int i = 0; i < current.length; i++) {
        current[i] = Arrays.copyOfRange(all, i * size, (i + 1) * size);
      }
      rows = current;
    }
    return current[position];
  }

  /** Returns the factors of at least so many positions, {@code [positions, 2 rotarySize]}. */
  public DeviceTensor factors(TorchScriptModule module, int positions) {
    DeviceTensor current = factors;
    if (current != null && current.shape().get(0) >= positions) {
      return current;
    }
    synchronized (this) {
      current = factors;
      if (current == null || current.shape().get(0) < positions) {
        // Twice as many each time. Smaller ones stay with the manager: others may be reading them.
        long size = current == null ? BLOCK : 2 * current.shape().get(0);
        while (size < positions) {
          size *= 2;
        }
        try (DeviceTensor all = DeviceTensor.owning(manager.arange((float) size));
            DeviceTensor frequencies = DeviceTensor.borrowing(inverseFrequencies)) {
          current =
              module
                  .runForTensor(
                      manager,
                      "rotary_table",
                      all,
                      frequencies,
                      config.factor(),
                      config.interleaved())
                  .outliveScopes();
        }
        factors = current;
      }
      return current;
    }
  }
}
