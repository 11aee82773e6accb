package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import io.winnow.core.ForwardObserver;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Embedding, layers and head of a decoder, and how a pass of tokens runs through them. */
public final class LayerStack {
  private final DecoderRuntime runtime;
  private final Weight embedding;
  private final List<DecoderLayer> layers;
  private final Weight finalNorm;
  private final Junction ofHead;
  private final Weight head;
  private final @Nullable TensorList headBias;
  private final boolean plain;

  public LayerStack(
      DecoderRuntime runtime,
      Weight embedding,
      List<DecoderLayer> layers,
      Weight finalNorm,
      Weight head,
      @Nullable DeviceTensor headBias) {
    this.runtime = runtime;
    this.embedding = embedding;
    this.layers = List.copyOf(layers);
    this.finalNorm = finalNorm;
    ofHead = Junction.ofHead(finalNorm.tensor());
    this.head = head;
    this.headBias = headBias == null ? null : TensorList.of(headBias);
    plain = layers.stream().allMatch(DecoderLayer::isPlain);
  }

  DecoderRuntime runtime() {
    return runtime;
  }

  List<DecoderLayer> layers() {
    return layers;
  }

  /** Returns the weights that are of no layer. */
  List<Weight> weights() {
    return head == embedding ? List.of(embedding, finalNorm) : List.of(embedding, finalNorm, head);
  }

  /**
   * Computes the logits of the last {@code count} tokens of each sequence.
   *
   * @param ids {@code [sequences, tokens]}, whose manager owns the result
   * @param finalHidden takes the normalised hidden states of all tokens; null if nobody wants them
   * @return float32 {@code [sequences, count, vocabulary]}
   */
  NDArray logits(
      NDArray ids,
      @Nullable KeyValueCache cache,
      @Nullable ForwardObserver observer,
      int count,
      @Nullable ParameterStore parameters,
      @Nullable NDList finalHidden) {
    TokenIds.checkShape(ids);
    NDManager result = ids.getManager();
    // Of the model's device, wherever the ids are.
    try (NDManager scratch = result.newSubManager(runtime.manager().getDevice())) {
      NDArray logits = run(scratch, ids, cache, observer, count, parameters, finalHidden);
      if (logits == null) {
        throw new IllegalStateException("The observer ended a pass whose logits are wanted");
      }
      logits.attach(result);
      if (finalHidden != null) {
        finalHidden.attach(result);
      }
      return logits;
    }
  }

  /** Shows an observer all layers for sequences that start at position 0; no logits are made. */
  void observe(TokenSequences sequences, ForwardObserver observer) {
    try (NDManager scratch = runtime.manager().newSubManager()) {
      run(scratch, array(scratch, sequences), null, observer, 0, null, null);
    }
  }

  private static NDArray array(NDManager manager, TokenSequences sequences) {
    return manager.create(
        sequences.flatten(0, sequences.count()), new Shape(sequences.count(), sequences.length()));
  }

  /**
   * Computes the logits of every token such that they can be differentiated by the matrices of
   * merges; everything belongs to {@code manager}.
   */
  NDArray logits(NDManager manager, TokenSequences sequences, Map<Integer, TrainedMerge> merges) {
    int tokens = sequences.length();
    NDArray ids = checked(manager, array(manager, sequences), null);
    ForwardPass pass = runtime.newPass(manager, merges, sequences.count(), tokens);
    Residual residual = Objects.requireNonNull(layers(pass, ids, tokens));
    return pass.kernel().head(manager, residual, ofHead, head.tensor(), headBias, tokens, tokens);
  }

  private NDArray checked(NDManager scratch, NDArray ids, @Nullable KeyValueCache cache) {
    return TokenIds.checked(
        scratch, ids, cache, runtime.config().maxPositions(), runtime.config().vocabularySize());
  }

  private @Nullable NDArray run(
      NDManager scratch,
      NDArray inputIds,
      @Nullable KeyValueCache cache,
      @Nullable ForwardObserver observer,
      int count,
      @Nullable ParameterStore parameters,
      @Nullable NDList finalHidden) {
    NDArray ids = checked(scratch, inputIds, cache);
    int tokens = (int) ids.getShape().get(1);
    long[] padding = cache == null ? new long[(int) ids.getShape().get(0)] : cache.padding();
    boolean single =
        tokens == 1
            && padding.length == 1
            && padding[0] == 0
            && cache != null
            && observer == null
            && parameters == null
            && finalHidden == null;
    Kernel kernel = single ? singleTokenKernel() : null;
    ForwardPass pass =
        runtime.newPass(
            scratch,
            parameters,
            kernel == null ? runtime.kernel(parameters) : kernel,
            tokens,
            padding,
            cache,
            observer);
    int remaining = finalHidden != null || needsEveryToken(pass) ? tokens : count;
    Residual residual = layers(pass, ids, remaining);
    if (residual == null || count == 0) {
      return null;
    }
    Junction norm = pass.parameters() == null ? ofHead : Junction.ofHead(pass.weight(finalNorm));
    if (finalHidden != null) {
      DeviceTensor hidden = pass.kernel().settle(scratch, residual);
      residual = Residual.of(hidden);
      NDArray rows = pass.kernel().finalHidden(scratch, hidden, norm);
      finalHidden.add(rows.reshape(padding.length, tokens, runtime.config().hiddenSize()));
    }
    return pass.kernel()
        .head(scratch, residual, norm, pass.weight(head), headBias, remaining, count);
  }

  /**
   * Returns what computes the steps of a single token, if they run in Java: that uses copies of the
   * weights, which training does not change.
   */
  @Nullable Kernel singleTokenKernel() {
    return plain && !runtime.isTrained() ? runtime.singleTokenKernel() : null;
  }

  /**
   * Returns whether the last layer computes tokens whose logits nobody wants: where somebody sees
   * them, in training, and in a dense layer, which knows no other number of tokens than the pass's.
   */
  private boolean needsEveryToken(ForwardPass pass) {
    return pass.observer() != null
        || pass.parameters() != null
        || runtime.hooks().isActive()
        || !(layers.get(layers.size() - 1).feedForward() instanceof SparseMoe);
  }

  /**
   * Runs the layers; null if the pass's observer ended them.
   *
   * @param remaining of each sequence's last tokens the residual is computed; the last layer does
   *     not compute the others'
   */
  private @Nullable Residual layers(ForwardPass pass, NDArray ids, int remaining) {
    Residual residual = pass.kernel().embed(pass.manager(), pass.weight(embedding), ids);
    DecoderLayer last = layers.get(layers.size() - 1);
    for (DecoderLayer layer : layers) {
      boolean isCut = layer == last && remaining < pass.context().tokens();
      Residual next =
          isCut ? layer.stepOfLast(pass, residual, remaining) : layer.step(pass, residual);
      residual.close();
      if (next == null) {
        return null;
      }
      residual = next;
    }
    return residual;
  }
}
