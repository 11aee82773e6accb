package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.TokenCache;
import io.winnow.core.internal.form.AttentionConfig;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The keys and values of the tokens a decoder has seen, per layer {@code [sequences, heads,
 * capacity, headSize]}; of latent attention, rotated keys and latent vectors. It grows by blocks.
 * Not thread-safe: one cache serves one generation. The caller closes it.
 */
public final class KeyValueCache implements TokenCache {
  private static final int BLOCK = 256;

  private final NDManager manager;
  private final List<Layer> layers = new ArrayList<>();
  private final long[] padding;
  private final BitSet ended = new BitSet();
  private final int paddingStart;
  private int length;

  /**
   * Creates an empty cache.
   *
   * @param parent a manager on the model's device
   * @param numLayers the decoder's layers
   * @param padding how many of each sequence's first positions are padding; its length is the
   *     number of sequences
   */
  public KeyValueCache(NDManager parent, int numLayers, long[] padding) {
    this(parent, numLayers, padding, 0);
  }

  private KeyValueCache(NDManager parent, int numLayers, long[] padding, int paddingStart) {
    manager = parent.newSubManager();
    this.padding = padding.clone();
    this.paddingStart = paddingStart;
    for (int i = 0; i < numLayers; i++) {
      layers.add(new Layer());
    }
  }

  @Override
  public int length() {
    return length;
  }

  @Override
  public void end(int sequence) {
    ended.set(Objects.checkIndex(sequence, padding.length));
  }

  /**
   * Returns which of the next tokens nobody wants, because they are padding or their sequence has
   * ended, row-major {@code [sequences, tokens]}; null if there are none.
   */
  public boolean @Nullable [] idle(int tokens) {
    if (ended.isEmpty() && !AttentionContext.isPadded(padding)) {
      return null;
    }
    boolean[] idle = new boolean[padding.length * tokens];
    boolean any = false;
    for (int i = 0; i < idle.length; i++) {
      int sequence = i / tokens;
      int position = length + i % tokens - paddingStart;
      idle[i] = ended.get(sequence) || (position >= 0 && position < padding[sequence]);
      any |= idle[i];
    }
    return any ? idle : null;
  }

  @Override
  public long[] padding() {
    return padding.clone();
  }

  /** Returns the position at which the padding starts: 0, or where sequences part. */
  public int paddingStart() {
    return paddingStart;
  }

  /**
   * Creates a cache whose sequences continue those of this one; the caller closes both.
   *
   * @param kernel copies
   * @param parent a manager on the model's device
   * @param sources the sequence of this cache that each new one continues
   * @param newPadding how many of each new sequence's next positions are padding, where this cache
   *     has none; null to keep the padding there is
   * @param tokens how many more positions to make room for, {@code newPadding} included
   */
  public KeyValueCache expand(
      Kernel kernel, NDManager parent, int[] sources, long @Nullable [] newPadding, int tokens) {
    long[] own = newPadding;
    if (own == null) {
      own = Arrays.stream(sources).mapToLong(source -> padding[source]).toArray();
    }
    KeyValueCache expanded =
        new KeyValueCache(parent, layers.size(), own, newPadding == null ? paddingStart : length);
    try (NDManager scratch = manager.newSubManager()) {
      NDArray rows = scratch.create(Arrays.stream(sources).asLongStream().toArray());
      for (int i = 0; i < layers.size(); i++) {
        DeviceTensor keys = layers.get(i).keys();
        DeviceTensor values = layers.get(i).values();
        if (keys != null && values != null) {
          expanded
              .layer(i)
              .set(
                  kernel.copyCache(expanded.manager, keys, rows, length, tokens),
                  kernel.copyCache(expanded.manager, values, rows, length, tokens));
        }
      }
    } catch (RuntimeException | Error e) {
      expanded.close();
      throw e;
    }
    expanded.length = length;
    return expanded;
  }

  /** Returns one layer's part. */
  public Layer layer(int index) {
    return layers.get(index);
  }

  int numLayers() {
    return layers.size();
  }

  NDManager manager() {
    return manager;
  }

  /** Returns whether the cache was made with this manager as its parent. */
  public boolean isInside(NDManager parent) {
    return manager.getParentManager() == parent;
  }

  /** Notes that every layer has taken new tokens. */
  public void advance(int tokens) {
    length += tokens;
  }

  static int roundUp(int positions) {
    return (positions + BLOCK - 1) / BLOCK * BLOCK;
  }

  @Override
  public void close() {
    layers.forEach(Layer::close);
    manager.close();
  }

  /** Keys and values of one layer. Not part of the API. */
  public final class Layer implements AutoCloseable {
    private @Nullable DeviceTensor keys;
    private @Nullable DeviceTensor values;
    private @Nullable TensorList list;
    private @Nullable ArrayCache arrays;

    private Layer() {}

    NDManager manager() {
      return manager;
    }

    int length() {
      return length;
    }

    @Nullable DeviceTensor keys() {
      return keys;
    }

    @Nullable DeviceTensor values() {
      return values;
    }

    @Nullable TensorList list() {
      return list;
    }

    /** Returns the arrays of a single sequence, made on first use and with new tensors. */
    ArrayCache arrays(AttentionConfig form) {
      if (keys == null || values == null) {
        throw new IllegalStateException("The cache has no room yet");
      }
      if (arrays == null) {
        arrays = new ArrayCache(form, keys.elements(), values.elements(), capacity());
      }
      return arrays;
    }

    int capacity() {
      return keys == null ? 0 : (int) keys.shape().get(2);
    }

    /** Replaces the arrays and closes the old ones. */
    void set(DeviceTensor newKeys, DeviceTensor newValues) {
      close();
      keys = newKeys.attach(manager);
      values = newValues.attach(manager);
      list = TensorList.of(newKeys, newValues);
    }

    @Override
    public void close() {
      arrays = null;
      if (list != null) {
        list.close();
      }
      if (keys != null) {
        keys.close();
      }
      if (values != null) {
        values.close();
      }
    }
  }
}
