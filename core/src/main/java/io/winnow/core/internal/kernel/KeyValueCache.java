package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.TokenCache;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a decoder keeps of the tokens it has seen, for every layer the state of its sequence mixer:
 * keys and values, or rotated keys and latent vectors. It grows by blocks. Not thread-safe: one
 * cache serves one generation. The caller closes it.
 */
public final class KeyValueCache implements TokenCache {
  private static final int BLOCK = 256;

  private final NDManager manager;
  private final List<LayerState> layers = new ArrayList<>();
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
      layers.add(new LayerState(this));
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
    if (ended.isEmpty() && !TokenPlaces.isPadded(padding)) {
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
        List<DeviceTensor> copies = new ArrayList<>();
        for (DeviceTensor kept : layers.get(i).tensors()) {
          copies.add(kernel.copyState(expanded.manager, kept, rows, length, tokens));
        }
        if (!copies.isEmpty()) {
          expanded.layer(i).set(copies);
        }
      }
    } catch (RuntimeException | Error e) {
      expanded.close();
      throw e;
    }
    expanded.length = length;
    return expanded;
  }

  /** Returns one layer's state. */
  public LayerState layer(int index) {
    return layers.get(index);
  }

  /** Returns the number of layers. */
  public int numLayers() {
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
    layers.forEach(LayerState::close);
    manager.close();
  }
}
