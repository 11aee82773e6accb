package io.winnow.core.internal.kernel;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.form.StateForm;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The operations a decoder consists of: fused ones run as TorchScript methods in any type, the
 * reference runs the same in plain NDArray operations that can be differentiated, and there are
 * steps of one token in plain Java.
 *
 * <p>Results belong to the manager that is passed in, and the caller closes them. Hidden states are
 * {@code [sequences * tokens, hiddenSize]} in float32, norms and gates are float32 too; all other
 * weights and the products with them are of the model's type.
 */
public interface Kernel {
  /** Looks up token embeddings: ids {@code [sequences, tokens]} int64. */
  Residual embed(NDManager manager, DeviceTensor table, NDArray ids);

  /**
   * Prepares what the sequence mixers of all layers know of the tokens of a pass.
   *
   * @param mixers those of the layers, each once
   * @param tables the positions' factors of every rotation among them
   */
  PassContext prepare(
      NDManager manager,
      Collection<SequenceMixer> mixers,
      Map<RotaryConfig, RotaryTable> tables,
      TokenPlaces places);

  /**
   * Adds a sequence mixer to the residual.
   *
   * @param state what the layer keeps, to which the new tokens are added; null to compute without
   */
  DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      MixerWeights weights,
      PassContext context,
      @Nullable LayerState state);

  /**
   * Returns what {@link #attend} does, of each sequence's last {@code count} tokens alone; the
   * state gets all.
   */
  default DeviceTensor attendLast(
      NDManager manager,
      DeviceTensor hidden,
      MixerWeights weights,
      PassContext context,
      @Nullable LayerState state,
      int count) {
    try (DeviceTensor attended = attend(manager, hidden, weights, context, state)) {
      return attended.rows(manager, context.lastRows(count));
    }
  }

  /**
   * Reads a feed-forward block's input from the residual and computes its router logits.
   *
   * @param hidden taken over by the result
   * @param gate with a row for every logit
   */
  RoutedResidual route(
      NDManager manager, DeviceTensor hidden, Junction junction, DeviceTensor gate);

  /** Does {@link #attend} and {@link #route} of one layer, and before that what is pending. */
  RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      PassContext context,
      @Nullable LayerState state);

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

  /**
   * Adds a feed-forward block's output that was computed elsewhere to the residual.
   *
   * @param output {@code [tokens, hiddenSize]} in float32
   */
  DeviceTensor add(NDManager manager, RoutedResidual routed, NDArray output);

  /** Computes float32 router logits of float32 inputs {@code [tokens, hiddenSize]}. */
  NDArray routerLogits(NDManager manager, NDArray input, DeviceTensor gate);

  /** Computes one expert in float32: {@code [tokens, hiddenSize]} to the same shape. */
  NDArray expertOutput(NDManager manager, NDArray input, ExpertWeights weights, int expert);

  /**
   * Computes in float32 what the last matrix of one expert multiplies: {@code [tokens, hiddenSize]}
   * to {@code [tokens, intermediateSize]}.
   */
  NDArray expertIntermediate(NDManager manager, NDArray input, ExpertWeights weights, int expert);

  /** Reads from the residual what the head multiplies, in float32. */
  NDArray finalHidden(NDManager manager, DeviceTensor hidden, Junction junction);

  /**
   * Computes float32 logits of the last {@code count} of each sequence's {@code tokens}: {@code
   * [sequences, count, vocabulary]}.
   *
   * @param bias of the logits, or null
   */
  NDArray head(
      NDManager manager,
      Residual residual,
      Junction junction,
      DeviceTensor weight,
      @Nullable TensorList bias,
      int tokens,
      int count);

  /**
   * Makes room for new tokens in what a layer keeps.
   *
   * @param like a tensor of the model's type
   */
  void reserve(LayerState state, DeviceTensor like, StateForm form, int sequences, int tokens);

  /**
   * Copies a part of what a layer keeps.
   *
   * @param kept {@code [sequences, heads, at least length, size]}
   * @param rows the sequences to copy, int64
   * @param length the filled positions
   * @param tokens how many more positions to make room for
   */
  DeviceTensor copyState(
      NDManager manager, DeviceTensor kept, NDArray rows, int length, int tokens);

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
