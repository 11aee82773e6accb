package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.AbstractBlock;
import ai.djl.nn.Block;
import ai.djl.nn.Parameter;
import ai.djl.training.ParameterStore;
import ai.djl.util.PairList;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LanguageModel;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.Provenance;
import io.winnow.core.RouterHooks;
import io.winnow.core.TokenCache;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.EndTokens;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.TensorType;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * A decoder-only Mixture-of-Experts language model as a DJL block: token ids {@code [sequences,
 * length]} int64 in, float32 logits {@code [sequences, length, vocabulary]} out.
 *
 * <p>Training needs float32 and the model's own device; freeze parameters after {@code newTrainer},
 * which unfreezes them.
 *
 * <p>What inference returns are PyTorch's inference tensors: {@code duplicate()} one before
 * changing it in place.
 *
 * <p>Inference may run in several threads at once, each with inputs of its own. {@link
 * MoeLayerView#retain} excludes every other use. The model that {@code MoeModels} returns owns the
 * weights and closes them.
 */
public final class MoeDecoder extends AbstractBlock implements LanguageModel {
  private final Checkpoint source;
  private final Family family;
  private final LayerStack stack;
  private final DecoderRuntime runtime;
  private final DecoderCaches caches;
  private volatile @Nullable Provenance provenance;

  public MoeDecoder(Checkpoint source, Family family, LayerStack stack) {
    this.source = source;
    this.family = family;
    this.stack = stack;
    runtime = stack.runtime();
    List<DecoderLayer> layers = stack.layers();
    caches = new DecoderCaches(runtime, layers.size());
    inputShapes = new Shape[] {new Shape(1, 1)};
    inputNames = List.of("input_ids");
    for (Weight weight : stack.weights()) {
      Parameter parameter = weight.parameter();
      if (parameter != null) {
        addParameter(parameter);
      }
    }
    for (int i = 0; i < layers.size(); i++) {
      addChildBlock("layer" + i, layers.get(i));
    }
  }

  public Checkpoint source() {
    return source;
  }

  Family family() {
    return family;
  }

  DecoderConfig config() {
    return runtime.config();
  }

  public Optional<Provenance> provenance() {
    return Optional.ofNullable(provenance);
  }

  /**
   * Returns the weights under the names they have in the checkpoint, if they may differ from those
   * there; else nothing. Their memory belongs to {@code manager}.
   */
  public Map<String, OutputTensor> trainedTensors(NDManager manager) {
    Map<String, OutputTensor> tensors = new TreeMap<>();
    if (runtime.isTrained()) {
      for (Parameter parameter : getParameters().values()) {
        NDArray array = parameter.getArray();
        String name = parameter.getName();
        TensorType type = source.tensor(name).type();
        List<Long> shape = Arrays.stream(array.getShape().getShape()).boxed().toList();
        Segment bytes =
            new Segment.BufferSegment(runtime.fusedKernel().bytes(manager, array, type));
        tensors.put(name, new OutputTensor(name, type, shape, List.of(bytes)));
      }
    }
    return tensors;
  }

  /** Notes that the weights change from now on, which need not be by a pass of training. */
  public void weightsChange() {
    runtime.weightsChange();
    sparseLayers().forEach(SparseMoe::forgetMerges);
  }

  @Override
  public List<? extends MergeableMoeLayer> moeLayers() {
    return sparseLayers();
  }

  @Override
  public int vocabularySize() {
    return config().vocabularySize();
  }

  @Override
  public int maxPositions() {
    return config().maxPositions();
  }

  @Override
  public RouterHooks routerHooks() {
    return runtime.hooks();
  }

  @Override
  public Optional<String> sourceDigest() {
    // What is chosen now counts the experts that are left, not those of the checkpoint.
    CheckpointLayout layout = CheckpointLayout.of(source);
    boolean whole =
        sparseLayers().stream()
            .allMatch(
                moe ->
                    moe.stored().size() == layout.experts(moe.layerIndex())
                        && moe.applied() == null);
    return whole ? Optional.of(source.digest()) : Optional.empty();
  }

  @Override
  public void recordProvenance(Provenance newProvenance) {
    provenance = newProvenance;
  }

  @Override
  public void forward(TokenSequences sequences, ForwardObserver observer) {
    stack.observe(sequences, observer);
  }

  /**
   * Computes the logits of every token such that they can be differentiated by the matrices of
   * merges, which take the place of those applied. Everything belongs to {@code manager}.
   *
   * @return float32 {@code [sequences, length, vocabulary]}
   */
  public NDArray logits(
      NDManager manager, TokenSequences sequences, Map<Integer, TrainedMerge> merges) {
    return stack.logits(manager, sequences, merges);
  }

  public DecoderRuntime runtime() {
    return runtime;
  }

  /** Returns the MoE layers in order. */
  public List<SparseMoe> sparseLayers() {
    return stack.layers().stream()
        .map(DecoderLayer::feedForward)
        .filter(SparseMoe.class::isInstance)
        .map(SparseMoe.class::cast)
        .toList();
  }

  @Override
  public Path sourceFolder() {
    return source.folder();
  }

  @Override
  public Set<Long> endTokens() {
    return EndTokens.of(source);
  }

  @Override
  public NDArray logits(NDArray ids, ForwardObserver observer) {
    TokenIds.checkShape(ids);
    return stack.logits(ids, null, observer, (int) ids.getShape().get(1), null, null);
  }

  @Override
  public KeyValueCache newCache(long... padding) {
    return caches.create(padding);
  }

  @Override
  public NDArray next(NDArray ids, TokenCache cache, int count) {
    TokenIds.checkShape(ids);
    int tokens = (int) ids.getShape().get(1);
    if (count < 1 || count > tokens) {
      throw new InvalidInputException(
          String.format(
              "The logits of %d of %d tokens are wanted; ask for at least 1, at most all",
              count, tokens));
    }
    KeyValueCache own = caches.own(cache);
    NDArray logits = stack.logits(ids, own, null, count, null, null);
    own.advance(tokens);
    return logits;
  }

  @Override
  public KeyValueCache expand(TokenCache cache, int[] sources, int tokens) {
    return caches.expand(cache, sources, tokens, null);
  }

  @Override
  public KeyValueCache expand(TokenCache cache, int[] sources, int tokens, long[] padding) {
    return caches.expand(cache, sources, tokens, padding);
  }

  @Override
  public NDList step(NDArray ids, NDList past, long... padding) {
    TokenIds.checkShape(ids);
    try (KeyValueCache cache = caches.filled(past, padding)) {
      NDList hidden = new NDList();
      int tokens = (int) ids.getShape().get(1);
      NDArray logits = stack.logits(ids, cache, null, tokens, null, hidden);
      cache.advance(tokens);
      return new NDList(logits)
          .addAll(hidden)
          .addAll(runtime.fusedKernel().contents(ids.getManager(), cache));
    }
  }

  @Override
  protected NDList forwardInternal(
      ParameterStore parameterStore,
      NDList inputs,
      boolean training,
      PairList<String, Object> params) {
    if (inputs.size() != 1) {
      throw new InvalidInputException(
          "The model takes one array, token ids [sequences, length], and got "
              + inputs.size()
              + "; it needs no mask for sequences of equal length, and knows padding by newCache");
    }
    NDArray ids = inputs.head();
    TokenIds.checkShape(ids);
    int length = (int) ids.getShape().get(1);
    return new NDList(
        stack.logits(ids, null, null, length, training ? parameterStore : null, null));
  }

  /** Returns what computes the steps of a single token, if they run in Java. */
  @Nullable Kernel singleTokenKernel() {
    return stack.singleTokenKernel();
  }

  @Override
  public Shape[] getOutputShapes(Shape[] inputShapes) {
    return new Shape[] {inputShapes[0].addAll(new Shape(vocabularySize()))};
  }

  @Override
  protected void initializeChildBlocks(NDManager manager, DataType dataType, Shape... inputShapes) {
    // The weights are there already; this tells the children's which of them want gradients.
    for (Block child : getChildren().values()) {
      child.initialize(manager, dataType, new Shape(1, 1, config().hiddenSize()));
    }
  }

  /**
   * Not supported: DJL's format lacks bfloat16, and stock loaders do not read it.
   *
   * @throws UnsupportedOperationException always; a file that {@code Model.save} began is to be
   *     removed
   */
  @Override
  public void saveParameters(DataOutputStream os) {
    throw new UnsupportedOperationException(
        "Models of MoeModels are not written in DJL's format; use MoeModels.save");
  }

  /**
   * Not supported, like {@link #saveParameters}.
   *
   * @throws UnsupportedOperationException always
   */
  @Override
  public void loadParameters(NDManager manager, DataInputStream is) {
    throw new UnsupportedOperationException(
        "Weights are not read from DJL's format; use MoeModels.load");
  }
}
