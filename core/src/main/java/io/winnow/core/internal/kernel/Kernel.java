package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.form.AttentionConfig;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.Collection;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The operations a decoder consists of. {@link FusedKernel} runs them as TorchScript methods in any
 * type; {@link ReferenceKernel} runs the same in plain NDArray operations that can be
 * differentiated; {@link SingleTokenKernel} runs the steps of one token in plain Java.
 *
 * <p>Results belong to the manager that is passed in, and the caller closes them. Hidden states are
 * {@code [sequences * tokens, hiddenSize]} in float32, norms and gates are float32 too; all other
 * weights and the products with them are of the model's type. Not part of the API.
 */
public interface Kernel {
  /** Looks up token embeddings: ids {@code [sequences, tokens]} int64. */
  Residual embed(NDManager manager, DeviceTensor table, NDArray ids);

  /**
   * Prepares what all layers' attention shares.
   *
   * @param layers the forms of the layers' attention, each once; sizes of the first count
   * @param table the positions' rotary factors
   * @param temperature of the layers that need one, or null
   * @param tokens new tokens per sequence
   * @param past positions that are cached
   * @param padding how many positions of each sequence are padding
   * @param paddingStart the position at which the padding starts
   */
  AttentionContext prepare(
      NDManager manager,
      Collection<AttentionConfig> layers,
      RotaryTable table,
      AttentionConfig.@Nullable Temperature temperature,
      int tokens,
      int past,
      long[] padding,
      int paddingStart);

  /**
   * Adds normalised attention to the residual.
   *
   * @param cache keys and values of this layer, appended to; null to compute without
   */
  DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache);

  /**
   * Returns what {@link #attend} does, of each sequence's last {@code count} tokens alone; the
   * cache gets the keys and values of all.
   */
  default DeviceTensor attendLast(
      NDManager manager,
      DeviceTensor hidden,
      AttentionWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache,
      int count) {
    try (DeviceTensor attended = attend(manager, hidden, weights, context, cache)) {
      return attended.rows(manager, context.lastRows(count));
    }
  }

  /**
   * Normalises a MoE layer's input and computes its router logits.
   *
   * @param hidden taken over by the result
   */
  RoutedResidual route(
      NDManager manager, DeviceTensor hidden, DeviceTensor norm, DeviceTensor gate);

  /** Does {@link #attend} and {@link #route} of one layer, and before that what is pending. */
  RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      AttentionContext context,
      KeyValueCache.@Nullable Layer cache);

  /**
   * Does {@link #mix} for inference, or leaves it to the call that follows.
   *
   * @param routed taken over, and closed when it is no longer needed
   */
  Residual mixLater(NDManager manager, RoutedResidual routed, ExpertMix mix);

  /** Returns the residual with everything added. */
  DeviceTensor settle(NDManager manager, Residual residual);

  /**
   * Adds the experts' weighted outputs to the residual.
   *
   * @param routingWeights the decision's weights {@code [tokens, topK]} as a differentiable array,
   *     or null to take those of the decision
   */
  DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, @Nullable NDArray routingWeights);

  /** Computes float32 router logits of float32 inputs {@code [tokens, hiddenSize]}. */
  NDArray routerLogits(NDManager manager, NDArray input, DeviceTensor gate);

  /** Computes one expert in float32: {@code [tokens, hiddenSize]} to the same shape. */
  NDArray expertOutput(NDManager manager, NDArray input, ExpertWeights weights, int expert);

  /**
   * Computes in float32 what the last matrix of one expert multiplies: {@code [tokens, hiddenSize]}
   * to {@code [tokens, intermediateSize]}.
   */
  NDArray expertIntermediate(NDManager manager, NDArray input, ExpertWeights weights, int expert);

  /** Applies the norm to a hidden state, in float32: what the head multiplies. */
  NDArray finalHidden(NDManager manager, DeviceTensor hidden, DeviceTensor norm);

  /**
   * Computes float32 logits of the last {@code count} of each sequence's {@code tokens}: {@code
   * [sequences, count, vocabulary]}.
   *
   * @param bias of the logits, or null
   */
  NDArray head(
      NDManager manager,
      Residual residual,
      DeviceTensor norm,
      DeviceTensor weight,
      @Nullable TensorList bias,
      int tokens,
      int count);

  /**
   * Makes room for new tokens in a layer's cache.
   *
   * @param like a tensor of the model's type
   */
  void reserve(
      KeyValueCache.Layer cache,
      DeviceTensor like,
      AttentionConfig config,
      int sequences,
      int tokens);

  /**
   * Copies a part of a layer's cache.
   *
   * @param cached keys or values {@code [sequences, heads, at least length, headSize]}
   * @param rows the sequences to copy, int64
   * @param length the filled positions
   * @param tokens how many more positions to make room for
   */
  DeviceTensor copyCache(
      NDManager manager, DeviceTensor cached, NDArray rows, int length, int tokens);

  /** Creates a tensor like another, with any content, for {@link #merge} to write to. */
  DeviceTensor newBuffer(NDManager manager, DeviceTensor like);

  /**
   * Writes weighted sums of experts' weights: {@code merged[j] = sum_i factors[j][i] experts[i]},
   * computed in float32 and rounded once.
   *
   * @param manager owns what is needed meanwhile
   * @param experts one weight of each expert, all of one shape and type
   * @param factors {@code [merged, experts]}
   * @param merged what {@link #newBuffer} made
   */
  void merge(
      NDManager manager, List<DeviceTensor> experts, float[][] factors, List<DeviceTensor> merged);
}
