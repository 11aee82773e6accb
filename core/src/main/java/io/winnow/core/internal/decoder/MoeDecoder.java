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
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RouterHooks;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.checkpoint.EndTokens;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.Family;
import io.winnow.core.internal.kernel.Junction;
import io.winnow.core.internal.kernel.Kernel;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.internal.kernel.Residual;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.internal.layout.CheckpointLayout;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.model.MoeModels;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.IntStream;
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
 * MoeLayerView#retain} excludes every other use. The model that {@link MoeModels} returns owns the
 * weights and closes them.
 */
public final class MoeDecoder extends AbstractBlock implements MoeModel {
  private final Checkpoint source;
  private final Family family;
  private final DecoderRuntime runtime;
  private final Weight embedding;
  private final List<DecoderLayer> layers;
  private final Weight finalNorm;
  private final Junction ofHead;
  private final Weight head;
  private final @Nullable TensorList headBias;
  private volatile @Nullable Provenance provenance;
  private final boolean plain;

  MoeDecoder(
      Checkpoint source,
      Family family,
      DecoderRuntime runtime,
      Weight embedding,
      List<DecoderLayer> layers,
      Weight finalNorm,
      Weight head,
      @Nullable DeviceTensor headBias) {
    this.source = source;
    this.family = family;
    this.runtime = runtime;
    this.embedding = embedding;
    this.layers = List.copyOf(layers);
    this.finalNorm = finalNorm;
    ofHead = Junction.ofHead(finalNorm.tensor());
    this.head = head;
    this.headBias = headBias == null ? null : TensorList.of(headBias);
    plain = layers.stream().allMatch(DecoderLayer::isPlain);
    inputShapes = new Shape[] {new Shape(1, 1)};
    inputNames = List.of("input_ids");
    register(embedding);
    register(finalNorm);
    if (head != embedding) {
      register(head);
    }
    for (int i = 0; i < layers.size(); i++) {
      addChildBlock("layer" + i, layers.get(i));
    }
  }

  private void register(Weight weight) {
    Parameter parameter = weight.parameter();
    if (parameter != null) {
      addParameter(parameter);
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

  Optional<Provenance> provenance() {
    return Optional.ofNullable(provenance);
  }

  /**
   * Returns the weights under the names they have in the checkpoint, if they may differ from those
   * there; else nothing. Their memory belongs to {@code manager}.
   */
  Map<String, OutputTensor> trainedTensors(NDManager manager) {
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
    try (NDManager scratch = runtime.manager().newSubManager()) {
      NDArray ids =
          scratch.create(
              sequences.flatten(0, sequences.count()),
              new Shape(sequences.count(), sequences.length()));
      run(scratch, ids, null, observer, 0, null, null);
    }
  }

  /**
   * Computes the logits of every token such that they can be differentiated by the matrices of
   * merges, which take the place of those applied. Everything belongs to {@code manager}.
   *
   * @return float32 {@code [sequences, length, vocabulary]}
   */
  public NDArray logits(
      NDManager manager, TokenSequences sequences, Map<Integer, TrainedMerge> merges) {
    Shape shape = new Shape(sequences.count(), sequences.length());
    NDArray ids =
        checked(manager, manager.create(sequences.flatten(0, sequences.count()), shape), null);
    ForwardPass pass = runtime.newPass(manager, merges, sequences.count(), sequences.length());
    Residual residual = Objects.requireNonNull(layers(pass, ids, sequences.length()));
    return pass.kernel()
        .head(
            manager,
            residual,
            ofHead,
            head.tensor(),
            headBias,
            sequences.length(),
            sequences.length());
  }

  public DecoderRuntime runtime() {
    return runtime;
  }

  /** Returns the MoE layers in order. */
  public List<SparseMoe> sparseLayers() {
    return layers.stream()
        .map(DecoderLayer::feedForward)
        .filter(SparseMoe.class::isInstance)
        .map(SparseMoe.class::cast)
        .toList();
  }

  /** Returns the folder of the checkpoint that the model was loaded from. */
  public Path sourceFolder() {
    return source.folder();
  }

  /** Returns the tokens at which a text ends, by {@code generation_config.json} or config.json. */
  public Set<Long> endTokens() {
    return EndTokens.of(source);
  }

  /**
   * Computes the logits of every token, showing the layers to an observer.
   *
   * @param ids token ids {@code [sequences, length]} int64
   * @return float32 {@code [sequences, length, vocabulary]}, owned by the manager of {@code ids}
   */
  public NDArray logits(NDArray ids, ForwardObserver observer) {
    checkShape(ids);
    return logits(ids, null, observer, (int) ids.getShape().get(1), null);
  }

  /**
   * Creates an empty cache for generation; the caller closes it.
   *
   * @param padding how many of each sequence's first positions are padding
   */
  public KeyValueCache newCache(long... padding) {
    if (padding.length == 0 || Arrays.stream(padding).anyMatch(count -> count < 0)) {
      throw new InvalidInputException(
          "A cache needs the padding of every sequence, at least 0, but got "
              + Arrays.toString(padding));
    }
    return new KeyValueCache(runtime.manager(), layers.size(), padding);
  }

  /**
   * Takes new tokens and computes the logits of the last one.
   *
   * @param ids the tokens behind those in the cache, {@code [sequences, tokens]} int64
   * @param cache what {@link #newCache} returned; the tokens are added to it
   * @return float32 {@code [sequences, 1, vocabulary]}, owned by the manager of {@code ids}
   * @throws InvalidInputException if the sequences grow longer than the model's positions
   */
  public NDArray next(NDArray ids, KeyValueCache cache) {
    return next(ids, cache, 1);
  }

  /**
   * Takes new tokens and computes the logits of the last {@code count}; otherwise like {@link
   * #next(NDArray, KeyValueCache)}.
   *
   * @param count from 1 to the number of new tokens
   * @return float32 {@code [sequences, count, vocabulary]}, owned by the manager of {@code ids}
   */
  public NDArray next(NDArray ids, KeyValueCache cache, int count) {
    checkShape(ids);
    if (count < 1 || count > ids.getShape().get(1)) {
      throw new InvalidInputException(
          String.format(
              "The logits of %d of %d tokens are wanted; ask for at least 1, at most all",
              count, ids.getShape().get(1)));
    }
    NDArray logits = logits(ids, cache, null, count, null);
    cache.advance((int) ids.getShape().get(1));
    return logits;
  }

  /**
   * Creates a cache whose sequences continue those of another: several may continue the same, which
   * is computed once. The caller closes both.
   *
   * @param cache is only read
   * @param sources the sequence of {@code cache} that each new one continues
   * @param tokens how many more positions will be taken, to make room for them at once
   */
  public KeyValueCache expand(KeyValueCache cache, int[] sources, int tokens) {
    checkSources(cache, sources);
    return cache.expand(runtime.inferenceKernel(), runtime.manager(), sources, null, tokens);
  }

  /**
   * Creates a cache like {@link #expand(KeyValueCache, int[], int)}, in which the tokens to come
   * are padded.
   *
   * @param cache has no padding
   * @param padding how many of each new sequence's next positions are padding
   */
  public KeyValueCache expand(KeyValueCache cache, int[] sources, int tokens, long[] padding) {
    checkSources(cache, sources);
    if (padding.length != sources.length
        || Arrays.stream(padding).anyMatch(count -> count < 0)
        || Arrays.stream(cache.padding()).anyMatch(count -> count > 0)) {
      throw new InvalidInputException(
          String.format(
              "The padding %s does not fit %d sequences that continue a cache with the padding %s;"
                  + " it must be at least 0 each, behind a cache without padding",
              Arrays.toString(padding), sources.length, Arrays.toString(cache.padding())));
    }
    return cache.expand(runtime.inferenceKernel(), runtime.manager(), sources, padding, tokens);
  }

  private static void checkSources(KeyValueCache cache, int[] sources) {
    int sequences = cache.padding().length;
    if (sources.length == 0
        || Arrays.stream(sources).anyMatch(source -> source < 0 || source >= sequences)) {
      throw new InvalidInputException(
          String.format(
              "The sequences %s cannot continue those of a cache of %d; use numbers from 0 to %d",
              Arrays.toString(sources), sequences, sequences - 1));
    }
  }

  /**
   * Takes new tokens behind others whose keys and values the caller holds.
   *
   * @param ids the new tokens, {@code [sequences, tokens]} int64
   * @param past keys, then values of each layer, {@code [sequences, keyValueHeads, length,
   *     headSize]} float32, which are only read; empty at the beginning. Latent attention has one
   *     head, of rotated keys and of latent vectors
   * @param padding how many of each sequence's first positions are padding
   * @return float32 logits {@code [sequences, tokens, vocabulary]}, normalised hidden states {@code
   *     [sequences, tokens, hiddenSize]}, then the keys and values of all tokens; owned by the
   *     manager of {@code ids}
   * @throws InvalidInputException if the arrays do not fit each other or the model
   */
  public NDList step(NDArray ids, NDList past, long... padding) {
    checkShape(ids);
    try (KeyValueCache cache = newCache(padding)) {
      if (!past.isEmpty()) {
        checkPast(past, padding.length);
        runtime.fusedKernel().fill(cache, past);
      }
      NDList hidden = new NDList();
      int tokens = (int) ids.getShape().get(1);
      NDArray logits = logits(ids, cache, null, tokens, null, hidden);
      cache.advance(tokens);
      return new NDList(logits)
          .addAll(hidden)
          .addAll(runtime.fusedKernel().contents(ids.getManager(), cache));
    }
  }

  private void checkPast(NDList past, int sequences) {
    long length = past.head().getShape().dimension() == 4 ? past.head().getShape().get(2) : -1;
    List<Shape> shapes =
        IntStream.range(0, layers.size())
            .boxed()
            .flatMap(layer -> config().mixer(layer).state().tensors().stream())
            .map(part -> new Shape(sequences, part.heads(), length, part.size()))
            .toList();
    boolean fits = past.size() == shapes.size() && length > 0;
    for (int i = 0; fits && i < past.size(); i++) {
      fits =
          past.get(i).getDataType() == DataType.FLOAT32
              && past.get(i).getShape().equals(shapes.get(i));
    }
    if (!fits) {
      throw new InvalidInputException(
          String.format(
              "Past keys and values must be %d float32 arrays [%d, %d, length, %d and %d], but are"
                  + " %d, the first of them %s %s; pass on those of the last result",
              shapes.size(),
              sequences,
              shapes.get(0).get(1),
              shapes.get(0).get(3),
              shapes.get(1).get(3),
              past.size(),
              past.head().getDataType(),
              past.head().getShape()));
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
    checkShape(ids);
    int length = (int) ids.getShape().get(1);
    return new NDList(logits(ids, null, null, length, training ? parameterStore : null));
  }

  private NDArray logits(
      NDArray ids,
      @Nullable KeyValueCache cache,
      @Nullable ForwardObserver observer,
      int count,
      @Nullable ParameterStore parameters) {
    return logits(ids, cache, observer, count, parameters, null);
  }

  private NDArray logits(
      NDArray ids,
      @Nullable KeyValueCache cache,
      @Nullable ForwardObserver observer,
      int count,
      @Nullable ParameterStore parameters,
      @Nullable NDList finalHidden) {
    checkShape(ids);
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
      finalHidden.add(rows.reshape(padding.length, tokens, config().hiddenSize()));
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

  private static void checkShape(NDArray ids) {
    Shape shape = ids.getShape();
    if (shape.dimension() != 2 || shape.get(0) < 1 || shape.get(1) < 1) {
      throw new InvalidInputException(
          "Token ids must be [sequences, length], at least 1 by 1, but are "
              + shape
              + "; a translator that returns single sequences needs a batchifier");
    }
  }

  /** An id outside the embedding kills a CUDA context, so every id is looked at first. */
  private NDArray checked(NDManager scratch, NDArray inputIds, @Nullable KeyValueCache cache) {
    DataType type = inputIds.getDataType();
    if (type != DataType.INT64 && type != DataType.INT32) {
      throw new InvalidInputException("Token ids must be int64 or int32, but are " + type);
    }
    Shape shape = inputIds.getShape();
    int past = cache == null ? 0 : cache.length();
    if (past + shape.get(1) > maxPositions()) {
      throw new InvalidInputException(
          String.format(
              "A sequence of %d tokens is longer than the model's %d positions; cut it",
              past + shape.get(1), maxPositions()));
    }
    if (cache != null && cache.padding().length != shape.get(0)) {
      throw new InvalidInputException(
          String.format(
              "%d sequences do not fit a cache made for %d", shape.get(0), cache.padding().length));
    }
    long[] values =
        type == DataType.INT64
            ? inputIds.toLongArray()
            : Arrays.stream(inputIds.toIntArray()).asLongStream().toArray();
    for (int i = 0; i < values.length; i++) {
      if (values[i] < 0 || values[i] >= vocabularySize()) {
        throw new InvalidInputException(
            String.format(
                "Token id %d at position %d of sequence %d is outside the vocabulary of %d; was the"
                    + " text tokenised for another model?",
                values[i], i % shape.get(1), i / shape.get(1), vocabularySize()));
      }
    }
    boolean usable = type == DataType.INT64 && inputIds.getDevice().equals(scratch.getDevice());
    return usable ? inputIds : scratch.create(values, shape);
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
