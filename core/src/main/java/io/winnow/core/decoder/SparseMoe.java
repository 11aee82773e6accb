package io.winnow.core.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.primitives.Ints;
import io.winnow.core.ExpertMerge;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MappedRouting;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.RetainedExperts;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.SoftmaxRouting;
import io.winnow.core.kernel.DeviceTensor;
import io.winnow.core.kernel.ExpertWeights;
import io.winnow.core.kernel.Kernel;
import io.winnow.core.kernel.Residual;
import io.winnow.core.kernel.RoutedResidual;
import io.winnow.core.kernel.TensorList;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** A sparse mixture of experts, behind its RMS norm and added to the residual. */
final class SparseMoe extends DecoderBlock implements MergeableMoeLayer {
  private final int layer;
  private final SoftmaxRouting routing;
  private final String gateName;
  private final Weight norm;
  private Weight gate;
  private List<Expert> experts;
  private ExpertWeights weights;
  private List<Integer> stored;
  private @Nullable MappedRouting mapping;
  private MergedExperts merged;

  /**
   * Creates the block.
   *
   * @param mapping what makes the experts' scores of the gate's, or null where each expert has a
   *     row of the gate
   * @param stored the numbers that the experts have in the checkpoint
   */
  SparseMoe(
      DecoderRuntime runtime,
      int layer,
      SoftmaxRouting routing,
      Weight norm,
      String gateName,
      Weight gate,
      @Nullable MappedRouting mapping,
      List<Expert> experts,
      List<Integer> stored) {
    super(runtime);
    this.layer = layer;
    this.routing = routing;
    this.norm = norm;
    this.gateName = gateName;
    this.gate = gate;
    this.mapping = mapping;
    this.experts = List.copyOf(experts);
    this.stored = List.copyOf(stored);
    weights = inferenceWeights(this.experts);
    merged = new MergedExperts(runtime, this.experts);
    registerAll();
  }

  /** The three weights of an expert: gate and up {@code [m, d]}, down {@code [d, m]}. */
  record Expert(Weight gate, Weight up, Weight down) implements AutoCloseable {
    @Override
    public void close() {
      gate.close();
      up.close();
      down.close();
    }
  }

  private void registerAll() {
    parameters.clear();
    register(norm);
    register(gate);
    for (Expert expert : experts) {
      register(expert.gate());
      register(expert.up());
      register(expert.down());
    }
  }

  private static ExpertWeights inferenceWeights(List<Expert> experts) {
    return expertWeights(experts, Weight::tensor);
  }

  private static ExpertWeights expertWeights(
      List<Expert> experts, Function<Weight, DeviceTensor> tensor) {
    return new ExpertWeights(
        new TensorList(experts.stream().map(Expert::gate).map(tensor).toList()),
        new TensorList(experts.stream().map(Expert::up).map(tensor).toList()),
        new TensorList(experts.stream().map(Expert::down).map(tensor).toList()));
  }

  Weight norm() {
    return norm;
  }

  Weight gate() {
    return gate;
  }

  @Override
  @Nullable DeviceTensor apply(ForwardPass pass, DeviceTensor hidden) {
    Residual output =
        mix(
            pass,
            pass.kernel().route(pass.manager(), hidden, pass.weight(norm), pass.weight(gate)));
    return output == null ? null : pass.kernel().settle(pass.manager(), output);
  }

  /**
   * Selects experts and adds their outputs, now or together with what follows; null if the pass's
   * observer ended it.
   */
  @Nullable Residual mix(ForwardPass pass, RoutedResidual routed) {
    Kernel kernel = pass.kernel();
    ForwardObserver observer = pass.observer();
    if (observer != null && !observer.onInput(this, routed.wideInput())) {
      return null;
    }
    float[] logits = ownLogits(routed.logits().toFloatArray());
    SoftmaxRouting active = ownRouting();
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
    int available = activeWeights.gate().size();
    RoutingDecision decision = active.route(logits, available);
    if (pass.idle() != null) {
      decision = decision.without(pass.idle());
    }
    if (observer != null) {
      RoutingDecision observed = observer.onRouting(this, logits, decision);
      decision = checked(observed, decision.tokens(), available);
    }
    if (runtime().hooks().isActive()) {
      RoutingDecision hooked = runtime().hooks().apply(this, logits, decision);
      decision = checked(hooked, decision.tokens(), available);
    }
    if (trained != null && trained.routerMapping() != null) {
      NDArray mapped =
          trained.routing().mappedLogits(ownLogits(routed.logits()), trained.routerMapping());
      return new Residual(
          kernel.mix(
              pass.manager(),
              routed,
              decision,
              activeWeights,
              active.weights(mapped, selected(pass.manager(), decision))));
    }
    if (pass.parameters() == null) {
      return kernel.mixLater(pass.manager(), routed, decision, activeWeights);
    }
    return new Residual(
        kernel.mix(
            pass.manager(),
            routed,
            decision,
            expertWeights(experts, pass::weight),
            active.weights(ownLogits(routed.logits()), selected(pass.manager(), decision))));
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
      // Of weights that are about to change.
      merged.close();
    }
    return merged.applied();
  }

  /** Returns the routing without a merge. */
  SoftmaxRouting ownRouting() {
    return mapping == null ? routing : mapping.merged();
  }

  private float[] ownLogits(float[] ofGate) {
    return mapping == null ? ofGate : mapping.mappedLogits(ofGate, mapping.numExperts());
  }

  private NDArray ownLogits(NDArray ofGate) {
    return mapping == null
        ? ofGate
        : mapping.mappedLogits(ofGate, ofGate.getManager().create(mapping.mapping()).duplicate());
  }

  /** A hook's mistake must not become an index outside a CUDA array, or a row with two writers. */
  private RoutingDecision checked(RoutingDecision decision, int tokens, int available) {
    if (decision.tokens() != tokens) {
      throw new InvalidInputException(
          String.format(
              "The router hook returned a decision for %d tokens in layer %d, which has %d",
              decision.tokens(), layer, tokens));
    }
    for (int token = 0; token < tokens; token++) {
      for (int rank = 0; rank < decision.topK(); rank++) {
        int expert = decision.expert(token, rank);
        boolean repeated = false;
        for (int earlier = 0; earlier < rank; earlier++) {
          repeated |= expert != RoutingDecision.NONE && expert == decision.expert(token, earlier);
        }
        if (expert < RoutingDecision.NONE || expert >= available || repeated) {
          throw new InvalidInputException(
              String.format(
                  "The router hook gave token %d expert %d in layer %d, %s",
                  token,
                  expert,
                  layer,
                  repeated ? "which it has already" : "whose experts are 0 to " + (available - 1)));
        }
      }
    }
    return decision;
  }

  private static NDArray selected(NDManager manager, RoutingDecision decision) {
    long[] ids = new long[decision.tokens() * decision.topK()];
    int[] selected = decision.experts();
    for (int i = 0; i < ids.length; i++) {
      ids[i] = selected[i];
    }
    // A copy in memory of PyTorch, which a graph to differentiate may keep.
    try (NDArray created = manager.create(ids, new Shape(decision.tokens(), decision.topK()))) {
      return created.duplicate();
    }
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
    return ownRouting();
  }

  @Override
  public NDArray routerLogits(NDArray hidden) {
    NDArray ofGate =
        runtime().inferenceKernel().routerLogits(hidden.getManager(), hidden, gate.tensor());
    if (mapping == null) {
      return ofGate;
    }
    try (ofGate) {
      return hidden
          .getManager()
          .create(
              ownLogits(ofGate.toFloatArray()), new Shape(hidden.getShape().get(0), numExperts()));
    }
  }

  @Override
  public NDArray expertOutput(int expert, NDArray hidden) {
    return runtime().inferenceKernel().expertOutput(hidden.getManager(), hidden, weights, expert);
  }

  /** Returns the numbers that the layer's experts have in the checkpoint. */
  List<Integer> stored() {
    return stored;
  }

  @Override
  public void retain(int... retained) {
    RetainedExperts.check(layer, numExperts(), routing.topK(), Ints.asList(retained));
    if (merged.applied() != null) {
      throw new InvalidInputException(
          "Layer " + layer + " runs with merged experts; call undoMerge() before it is pruned");
    }
    List<Expert> kept = new ArrayList<>();
    List<Integer> keptStored = new ArrayList<>();
    for (int expert : retained) {
      kept.add(experts.get(expert));
      keptStored.add(stored.get(expert));
    }
    DeviceTensor rows = mapping == null ? gate.tensor().rows(runtime().manager(), retained) : null;
    if (mapping != null) {
      mapping = mapping.retain(retained);
    }
    // The TorchScript lists own references: they go first, else nothing is freed.
    merged.close();
    weights.close();
    for (Expert expert : experts) {
      if (!kept.contains(expert)) {
        expert.close();
      }
    }
    if (rows != null) {
      gate.close();
      gate = Weight.of(gateName, rows, runtime().type());
    }
    experts = List.copyOf(kept);
    stored = List.copyOf(keptStored);
    weights = inferenceWeights(experts);
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
  MappedRouting checkMerge(ExpertMerge merge, int topK) {
    if (merge.numExperts() != numExperts()) {
      throw new InvalidInputException(
          String.format(
              "The merge is of %d experts, but layer %d has %d; was it made for another model, or"
                  + " has the layer been pruned since?",
              merge.numExperts(), layer, numExperts()));
    }
    return MappedRouting.of(ownRouting(), merge.routerMapping(), topK);
  }

  @Override
  public void undoMerge() {
    merged.undo();
  }

  /** Returns the merge that the layer runs with, or null. */
  MergedExperts.@Nullable Applied applied() {
    return merged.applied();
  }

  /** Returns what makes the experts' scores of the gate's, or null if they are the same. */
  @Nullable MappedRouting mapping() {
    return mapping;
  }

  /** Returns the experts, in the order of {@link #stored}. */
  List<Expert> experts() {
    return experts;
  }
}
