package io.winnow.core.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.primitives.Ints;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
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
final class SparseMoe extends DecoderBlock implements MoeLayerView {
  private final int layer;
  private final SoftmaxRouting routing;
  private final String gateName;
  private final Weight norm;
  private Weight gate;
  private List<Expert> experts;
  private ExpertWeights weights;
  private List<Integer> stored;

  /**
   * Creates the block.
   *
   * @param stored the numbers that the experts have in the checkpoint
   */
  SparseMoe(
      DecoderRuntime runtime,
      int layer,
      SoftmaxRouting routing,
      Weight norm,
      String gateName,
      Weight gate,
      List<Expert> experts,
      List<Integer> stored) {
    super(runtime);
    this.layer = layer;
    this.routing = routing;
    this.norm = norm;
    this.gateName = gateName;
    this.gate = gate;
    this.experts = List.copyOf(experts);
    this.stored = List.copyOf(stored);
    weights = inferenceWeights(this.experts);
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
    float[] logits = routed.logits().toFloatArray();
    RoutingDecision decision = routing.route(logits, numExperts());
    if (observer != null) {
      decision = checked(observer.onRouting(this, logits, decision), decision.tokens());
    }
    if (runtime().hooks().isActive()) {
      decision = checked(runtime().hooks().apply(this, logits, decision), decision.tokens());
    }
    if (pass.parameters() == null) {
      return kernel.mixLater(pass.manager(), routed, decision, weights);
    }
    return new Residual(
        kernel.mix(
            pass.manager(),
            routed,
            decision,
            expertWeights(experts, pass::weight),
            routing.weights(routed.logits(), selected(pass.manager(), decision))));
  }

  /** A hook's mistake must not become an index outside a CUDA array, or a row with two writers. */
  private RoutingDecision checked(RoutingDecision decision, int tokens) {
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
        if (expert < RoutingDecision.NONE || expert >= numExperts() || repeated) {
          throw new InvalidInputException(
              String.format(
                  "The router hook gave token %d expert %d in layer %d, %s",
                  token,
                  expert,
                  layer,
                  repeated
                      ? "which it has already"
                      : "whose experts are 0 to " + (numExperts() - 1)));
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
    return manager.create(ids, new Shape(decision.tokens(), decision.topK()));
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
    return routing;
  }

  @Override
  public NDArray routerLogits(NDArray hidden) {
    return runtime().inferenceKernel().routerLogits(hidden.getManager(), hidden, gate.tensor());
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
    List<Expert> kept = new ArrayList<>();
    List<Integer> keptStored = new ArrayList<>();
    for (int expert : retained) {
      kept.add(experts.get(expert));
      keptStored.add(stored.get(expert));
    }
    DeviceTensor rows = gate.tensor().rows(runtime().manager(), retained);
    // The TorchScript lists own references: they go first, else nothing is freed.
    weights.close();
    gate.close();
    for (Expert expert : experts) {
      if (!kept.contains(expert)) {
        expert.close();
      }
    }
    gate = Weight.of(gateName, rows, runtime().type());
    experts = List.copyOf(kept);
    stored = List.copyOf(keptStored);
    weights = inferenceWeights(experts);
    registerAll();
  }
}
