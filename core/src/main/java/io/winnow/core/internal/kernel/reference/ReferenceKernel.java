package io.winnow.core.internal.kernel.reference;

import static io.winnow.core.internal.kernel.reference.ReferenceArrays.attach;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.biased;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.kept;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.linear;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.own;
import static io.winnow.core.internal.kernel.reference.ReferenceArrays.times;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.SparseFormat;
import ai.djl.nn.core.Embedding;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.form.StateForm;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.LayerState;
import io.winnow.core.internal.kernel.LayerWeights;
import io.winnow.core.internal.kernel.MixerWeights;
import io.winnow.core.internal.kernel.PassContext;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RotaryTable;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.TokenPlaces;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The decoder's operations as plain NDArray operations in float32: what the fused kernel is
 * compared with, and what training differentiates. Thread-safe.
 *
 * <p>Intermediate results belong to the manager that is passed in, and go with it.
 */
public final class ReferenceKernel implements Kernel {
  private final KernelConfig config;

  /** Creates a kernel. */
  public ReferenceKernel(KernelConfig config) {
    this.config = config;
  }

  @Override
  public Residual embed(NDManager manager, DeviceTensor table, NDArray ids) {
    NDArray flat = kept(manager, ids.duplicate()).flatten();
    NDArray rows = Embedding.embedding(flat, table.array(), SparseFormat.DENSE).singletonOrThrow();
    return Residual.of(own(manager, times(manager, rows, config.embeddingFactor())));
  }

  @Override
  public PassContext prepare(
      NDManager manager,
      Collection<SequenceMixer> mixers,
      Map<RotaryConfig, RotaryTable> tables,
      TokenPlaces places) {
    return ReferenceContext.of(manager, mixers, tables, places);
  }

  @Override
  public DeviceTensor attend(
      NDManager manager,
      DeviceTensor hidden,
      MixerWeights weights,
      PassContext context,
      @Nullable LayerState state) {
    NDArray mixed =
        new ReferenceAttention(
                manager, weights, (ReferenceContext) context, state, config.epsilon())
            .mix(read(hidden.array(), weights.junction()));
    NDArray output =
        biased(linear(mixed, weights.get(MixerPart.OUTPUT)), weights.find(MixerPart.OUTPUT_BIAS));
    return added(manager, hidden, weights.junction(), output);
  }

  /** Returns what a block gets: its own array even where there is no norm. */
  private NDArray read(NDArray hidden, Junction junction) {
    DeviceTensor norm = junction.before();
    return norm == null ? hidden.reshape(hidden.getShape()) : normalize(hidden, norm.array());
  }

  private DeviceTensor added(
      NDManager manager, DeviceTensor hidden, Junction junction, NDArray output) {
    DeviceTensor norm = junction.behind();
    NDArray y = norm == null ? output : normalize(output, norm.array());
    return own(manager, hidden.array().add(times(manager, y, junction.factor())));
  }

  @Override
  public RoutedResidual route(
      NDManager manager, DeviceTensor hidden, Junction junction, DeviceTensor gate) {
    NDArray x = attach(manager, read(hidden.array(), junction));
    return new RoutedTensors(
        junction, hidden, x, DeviceTensor.borrowing(x), attach(manager, linear(x, gate)));
  }

  @Override
  public RoutedResidual attendAndRoute(
      NDManager manager,
      Residual residual,
      LayerWeights weights,
      PassContext context,
      @Nullable LayerState state) {
    DeviceTensor hidden = attend(manager, residual.hidden(), weights.mixer(), context, state);
    return route(manager, hidden, weights.junction(), weights.gate());
  }

  @Override
  public Residual mixLater(NDManager manager, RoutedResidual routed, ExpertMix mix) {
    try (routed) {
      return Residual.of(mix(manager, routed, mix, null));
    }
  }

  @Override
  public DeviceTensor settle(NDManager manager, Residual residual) {
    return residual.hidden();
  }

  @Override
  public DeviceTensor mix(
      NDManager manager, RoutedResidual routed, ExpertMix mix, @Nullable NDArray routingWeights) {
    NDArray x = routed.wideInput();
    ExpertWeights weights = mix.weights();
    RoutingDecision decision = mix.decision();
    NDArray output = null;
    if (decision != null) {
      ExpertMix ofRouted = new ExpertMix(decision, weights, null, mix.inputFactors());
      output = ReferenceExperts.routedSum(manager, x, ofRouted, decision, routingWeights);
    }
    float[] shared = mix.shared();
    if (shared != null) {
      NDArray factors = kept(manager, manager.create(shared));
      NDArray ofShared =
          ReferenceExperts.feedForward(x, weights, mix.routed()).mul(factors.expandDims(1));
      output = output == null ? ofShared : output.add(ofShared);
    }
    if (output == null) {
      throw new IllegalStateException("A layer needs routed experts or a shared one");
    }
    return added(manager, routed.hidden(), routed.junction(), output);
  }

  @Override
  public DeviceTensor add(NDManager manager, RoutedResidual routed, NDArray output) {
    return added(manager, routed.hidden(), routed.junction(), output);
  }

  @Override
  public NDArray routerLogits(NDManager manager, NDArray input, DeviceTensor gate) {
    return attach(manager, linear(input, gate));
  }

  @Override
  public NDArray expertOutput(NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray x = input.duplicate();
      x.attach(scratch);
      return attach(manager, ReferenceExperts.feedForward(x, weights, expert));
    }
  }

  @Override
  public NDArray expertIntermediate(
      NDManager manager, NDArray input, ExpertWeights weights, int expert) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray x = input.duplicate();
      x.attach(scratch);
      return attach(manager, ReferenceExperts.activate(x, weights, expert));
    }
  }

  @Override
  public NDArray finalHidden(NDManager manager, DeviceTensor hidden, Junction junction) {
    return attach(manager, read(hidden.array(), junction));
  }

  @Override
  public NDArray head(
      NDManager manager,
      Residual residual,
      Junction junction,
      DeviceTensor weight,
      @Nullable TensorList bias,
      int tokens,
      int count) {
    NDArray all = residual.hidden().array();
    all = all.reshape(-1, tokens, all.getShape().get(1));
    NDArray tail = all.get(new NDIndex(":, {}:", tokens - count));
    NDArray logits = linear(read(tail, junction), weight);
    logits = biased(logits, bias == null ? null : bias.get(0));
    return attach(manager, times(manager, logits, 1 / config.logitsDivisor()));
  }

  @Override
  public void reserve(
      LayerState state, DeviceTensor like, StateForm form, int sequences, int tokens) {
    // attend() makes longer arrays of the old ones.
  }

  @Override
  public DeviceTensor copyState(
      NDManager manager, DeviceTensor kept, NDArray rows, int length, int tokens) {
    return own(manager, kept.array().get(rows));
  }

  @Override
  public DeviceTensor newBuffer(NDManager manager, DeviceTensor like) {
    return DeviceTensor.owning(manager.zeros(like.shape(), DataType.FLOAT32));
  }

  @Override
  public void merge(
      NDManager manager, List<DeviceTensor> experts, float[][] factors, List<DeviceTensor> merged) {
    for (int row = 0; row < factors.length; row++) {
      try (NDManager scratch = manager.newSubManager()) {
        NDArray sum = scratch.zeros(merged.get(row).shape(), DataType.FLOAT32);
        for (int i = 0; i < factors[row].length; i++) {
          // Not in place: the weights may lie in a mapped file.
          NDArray part = experts.get(i).array().mul(factors[row][i]);
          part.attach(scratch);
          sum.addi(part);
        }
        sum.copyTo(merged.get(row).array());
      }
    }
  }

  private NDArray normalize(NDArray x, NDArray weight) {
    if (!config.layerNorm()) {
      return ReferenceArrays.rootMeanSquare(x, DeviceTensor.borrowing(weight), config.epsilon());
    }
    NDArray centered = x.sub(x.mean(new int[] {-1}, true));
    NDArray variance = centered.square().mean(new int[] {-1}, true);
    return centered
        .div(variance.add((float) config.epsilon()).sqrt())
        .mul(weight.get(0))
        .add(weight.get(1));
  }
}
