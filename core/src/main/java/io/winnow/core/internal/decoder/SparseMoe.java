package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.primitives.Ints;
import io.winnow.core.ExpertMerge;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.NarrowableMoeLayer;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.kernel.ExpertMix;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.RoutedResidual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.internal.routing.RetainedExperts;
import io.winnow.core.routing.MappedRouting;
import io.winnow.core.routing.SoftmaxRouting;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** A sparse mixture of experts, behind its norm and added to the residual. */
public final class SparseMoe extends FeedForward implements MergeableMoeLayer, NarrowableMoeLayer {
  private final int layer;
  private final BlockNorms norms;
  private final @Nullable Shared shared;
  private final ExpertRouter router;
  private List<Expert> experts;
  private ExpertWeights weights;
  private List<Integer> stored;
  private MergedExperts merged;

  /**
   * Creates the block.
   *
   * @param router what scores the experts
   * @param shared the experts that every token takes, or null
   * @param stored the numbers that the experts have in the checkpoint
   */
  SparseMoe(
      DecoderRuntime runtime,
      int layer,
      BlockNorms norms,
      Router router,
      List<Expert> experts,
      @Nullable Shared shared,
      List<Integer> stored) {
    super(runtime);
    this.layer = layer;
    this.norms = norms;
    this.shared = shared;
    this.router = new ExpertRouter(runtime, layer, router, experts.size(), shared);
    this.experts = List.copyOf(experts);
    this.stored = List.copyOf(stored);
    weights = inferenceWeights(withShared());
    merged = new MergedExperts(runtime, this.experts);
    registerAll();
  }

  /**
   * What scores the experts.
   *
   * @param bias added to the gate's logits, or null
   * @param mapping what makes the experts' scores of the gate's, or null where each expert has a
   *     row of the gate
   */
  record Router(
      Routing routing,
      String gateName,
      Weight gate,
      float @Nullable [] bias,
      @Nullable MappedRouting mapping) {}

  /**
   * The experts that every token takes, as one.
   *
   * @param gate {@code [1, d]}, of whose logit the sigmoid is the weight; null for 1
   */
  record Shared(Expert expert, @Nullable DeviceTensor gate) {}

  /**
   * The three weights of an expert: gate and up {@code [m, d]}, down {@code [d, m]}; or others that
   * {@link ExpertWeights} describes.
   */
  public record Expert(Weight gate, Weight up, Weight down) implements AutoCloseable {
    List<Weight> weights() {
      return List.of(gate, up, down);
    }

    @Override
    public void close() {
      weights().forEach(Weight::close);
    }
  }

  private void registerAll() {
    parameters.clear();
    norms.weights().forEach(this::register);
    register(router.gate());
    for (Expert expert : experts) {
      expert.weights().forEach(this::register);
    }
  }

  private List<Expert> withShared() {
    if (shared == null) {
      return experts;
    }
    List<Expert> all = new ArrayList<>(experts);
    all.add(shared.expert());
    return all;
  }

  static ExpertWeights inferenceWeights(List<Expert> experts) {
    return expertWeights(experts, Weight::tensor);
  }

  private static ExpertWeights expertWeights(
      List<Expert> experts, Function<Weight, DeviceTensor> tensor) {
    return new ExpertWeights(
        new TensorList(experts.stream().map(Expert::gate).map(tensor).toList()),
        new TensorList(experts.stream().map(Expert::up).map(tensor).toList()),
        new TensorList(experts.stream().map(Expert::down).map(tensor).toList()));
  }

  @Override
  boolean isPlain() {
    return weights.isPlain() && norms.junction().isPlain();
  }

  @Override
  Junction junction(ForwardPass pass) {
    return norms.junction(pass);
  }

  @Override
  DeviceTensor gate(ForwardPass pass) {
    return pass.parameters() == null ? router.fullGate() : pass.weight(router.gate());
  }

  @Override
  @Nullable Residual mix(ForwardPass pass, RoutedResidual routed) {
    Kernel kernel = pass.kernel();
    ForwardObserver observer = pass.observer();
    if (observer != null && !observer.onInput(this, routed.wideInput())) {
      return null;
    }
    float[] ofGate = routed.logitValues();
    NDArray computed = observer == null ? null : observer.routedOutput(this, routed.wideInput());
    if (computed != null) {
      return Residual.of(add(pass, routed, router.sharedWeights(ofGate), computed));
    }
    float[] sharedWeights = router.sharedWeights(ofGate);
    float[] logits = router.logits(ofGate);
    Routing active = router.routing();
    ExpertWeights activeWeights = weights;
    TrainedMerge trained = pass.merges() == null ? null : pass.merges().get(layer);
    MergedExperts.Applied applied = applied(pass);
    if (trained != null) {
      logits = trained.routing().mappedLogits(logits, numExperts());
      active = trained.routing().merged();
      activeWeights = trained.weights();
    } else if (applied != null) {
      logits = applied.routing().mappedLogits(logits, numExperts());
      active = applied.routing().merged();
      activeWeights = applied.weights();
    }
    int available = activeWeights.gate().size() - (shared == null ? 0 : 1);
    RoutingDecision decision = active.route(logits, available);
    if (pass.idle() != null) {
      decision = decision.without(pass.idle());
    }
    if (observer != null) {
      RoutingDecision observed = observer.onRouting(this, logits, decision);
      decision = router.checked(observed, decision.tokens(), available);
    }
    if (runtime().hooks().isActive()) {
      RoutingDecision hooked = runtime().hooks().apply(this, logits, decision);
      decision = router.checked(hooked, decision.tokens(), available);
    }
    if (trained != null && trained.routerMapping() != null) {
      NDArray mapped =
          trained.routing().mappedLogits(router.logits(routed.logits()), trained.routerMapping());
      return Residual.of(
          kernel.mix(
              pass.manager(),
              routed,
              new ExpertMix(decision, activeWeights, null, null),
              trained
                  .routing()
                  .merged()
                  .weights(mapped, ExpertRouter.selected(pass.manager(), decision))));
    }
    if (pass.parameters() == null) {
      float[] inputs =
          active.scalesInputs()
              ? ExpertRouter.inputFactors(active, logits, available, decision)
              : null;
      return kernel.mixLater(
          pass.manager(), routed, new ExpertMix(decision, activeWeights, sharedWeights, inputs));
    }
    NDArray factors =
        mergeableRouting()
            .weights(
                router.logits(routed.logits()), ExpertRouter.selected(pass.manager(), decision));
    return Residual.of(
        kernel.mix(
            pass.manager(),
            routed,
            new ExpertMix(decision, expertWeights(experts, pass::weight), null, null),
            factors));
  }

  /** Adds the shared experts, and what somebody else computed of the routed ones. */
  private DeviceTensor add(
      ForwardPass pass, RoutedResidual routed, float @Nullable [] sharedWeights, NDArray computed) {
    NDManager manager = pass.manager();
    Kernel kernel = pass.kernel();
    try (routed;
        NDManager scratch = manager.newSubManager()) {
      computed.attach(scratch);
      NDArray sum = computed;
      if (shared != null && sharedWeights != null) {
        NDArray output = kernel.expertOutput(scratch, routed.wideInput(), weights, experts.size());
        NDArray factors = scratch.create(sharedWeights, new Shape(sharedWeights.length, 1));
        sum = factors.mul(output).add(computed);
      }
      return kernel.add(manager, routed, sum);
    }
  }

  /** Returns the merge to follow in a pass. */
  private MergedExperts.@Nullable Applied applied(ForwardPass pass) {
    if (pass.merges() != null) {
      return null;
    }
    if (pass.parameters() != null) {
      if (merged.applied() != null) {
        throw new InvalidInputException(
            "Layer "
                + layer
                + " runs with merged experts, which are not trained; call undoMerge() first, or train"
                + " the merge with MergeTraining");
      }
      forgetMerges();
    }
    return merged.applied();
  }

  /** Frees merged experts that are not applied, since their weights are about to change. */
  void forgetMerges() {
    merged.close();
  }

  /** Returns the gate's name in the checkpoint. */
  public String gateName() {
    return router.gateName();
  }

  /**
   * Returns the routing without a merge, of which a merge makes another.
   *
   * @throws InvalidInputException if experts of this family are not merged
   */
  public SoftmaxRouting mergeableRouting() {
    return router.mergeable();
  }

  @Override
  public int layerIndex() {
    return layer;
  }

  @Override
  public int numExperts() {
    return experts.size();
  }

  @Override
  public Routing routing() {
    return router.routing();
  }

  @Override
  public NDArray routerLogits(NDArray hidden) {
    return router.compute(hidden, numExperts());
  }

  @Override
  public NDArray expertOutput(int expert, NDArray hidden) {
    Kernel kernel = runtime().inferenceKernel();
    if (!router.ofGate().scalesInputs()) {
      return kernel.expertOutput(hidden.getManager(), hidden, weights, expert);
    }
    try (NDManager scratch = hidden.getManager().newSubManager()) {
      float[] factors = router.scores(hidden, expert, numExperts());
      NDArray scaled = scratch.create(factors, new Shape(factors.length, 1)).mul(hidden);
      NDArray output = kernel.expertOutput(scratch, scaled, weights, expert);
      output.attach(hidden.getManager());
      return output;
    }
  }

  @Override
  public NDArray expertIntermediate(int expert, NDArray hidden) {
    return runtime()
        .inferenceKernel()
        .expertIntermediate(hidden.getManager(), hidden, weights, expert);
  }

  @Override
  public int intermediateSize() {
    return (int) weights.down().get(0).shape().get(1);
  }

  @Override
  public NDArray downProjection(NDManager manager, int expert) {
    return runtime().fusedKernel().columns(manager, weights.down().get(expert));
  }

  @Override
  public Optional<NDArray> downBias(NDManager manager, int expert) {
    return weights.downBias(manager, expert);
  }

  /**
   * Returns the factor with which the layer's output is added to the residual; empty where a norm
   * stands between.
   */
  OptionalDouble outputFactor() {
    Junction junction = norms.junction();
    return junction.behind() == null
        ? OptionalDouble.of(junction.factor())
        : OptionalDouble.empty();
  }

  /** Returns the numbers that the layer's experts have in the checkpoint. */
  public List<Integer> stored() {
    return stored;
  }

  @Override
  public void retain(int... retained) {
    RetainedExperts.check(layer, numExperts(), router.ofGate().topK(), Ints.asList(retained));
    if (merged.applied() != null) {
      throw new InvalidInputException(
          "Layer " + layer + " runs with merged experts; call undoMerge() before it is pruned");
    }
    router.retain(retained);
    List<Expert> kept = new ArrayList<>();
    List<Integer> keptStored = new ArrayList<>();
    for (int expert : retained) {
      kept.add(experts.get(expert));
      keptStored.add(stored.get(expert));
    }
    // The TorchScript lists own references: they go first, else nothing is freed.
    merged.close();
    weights.close();
    for (Expert expert : experts) {
      if (!kept.contains(expert)) {
        expert.close();
      }
    }
    experts = List.copyOf(kept);
    stored = List.copyOf(keptStored);
    weights = inferenceWeights(withShared());
    merged = new MergedExperts(runtime(), experts);
    registerAll();
  }

  @Override
  public void applyMerge(ExpertMerge merge, int topK) {
    merged.apply(merge, checkMerge(merge, topK));
  }

  /**
   * Checks that a merge fits the layer.
   *
   * @return its routing
   */
  public MappedRouting checkMerge(ExpertMerge merge, int topK) {
    mergeableRouting();
    if (merge.numExperts() != numExperts()) {
      throw new InvalidInputException(
          String.format(
              "The merge is of %d experts, but layer %d has %d; was it made for another model, or"
                  + " has the layer been pruned since?",
              merge.numExperts(), layer, numExperts()));
    }
    return MappedRouting.of(mergeableRouting(), merge.routerMapping(), topK);
  }

  @Override
  public void undoMerge() {
    merged.undo();
  }

  /** Returns the merge that the layer runs with, or null. */
  public MergedExperts.@Nullable Applied applied() {
    return merged.applied();
  }

  /** Returns what makes the experts' scores of the gate's, or null if they are the same. */
  @Nullable MappedRouting mapping() {
    return router.mapping();
  }

  /** Returns the experts, in the order of {@link #stored}. */
  public List<Expert> experts() {
    return experts;
  }
}
