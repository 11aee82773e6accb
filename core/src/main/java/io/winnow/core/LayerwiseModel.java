package io.winnow.core;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import org.jspecify.annotations.Nullable;

/**
 * A checkpoint as a model of which one layer is in memory at a time, and which can be written again
 * layer by layer with fewer experts: what pruning of checkpoints larger than memory needs.
 *
 * <p>{@code MoeModels.layerwise} opens one. It holds nothing itself; what it opens is closed by the
 * caller. Several threads may use it, and the same opened layer, at once.
 */
public interface LayerwiseModel {
  /** Returns the layers that have experts, in order. */
  List<MoeLayer> moeLayers();

  /** Returns the number of layers, with those that have no experts. */
  int layers();

  /** Returns d, the width of hidden states. */
  int hiddenSize();

  /** Returns m, the width inside of an expert. */
  int intermediateSize();

  /** Returns the number of token ids the model knows. */
  int vocabularySize();

  /** Returns the longest sequence the model can take, in tokens. */
  int maxPositions();

  /**
   * Checks that the experts of every layer can keep so few channels in a checkpoint, and their last
   * matrices be written anew.
   *
   * @param width m', from 1 to {@link #intermediateSize}
   * @throws InvalidInputException if not, saying why
   */
  void checkNarrow(int width);

  /** Returns a digest of the checkpoint. */
  String sourceDigest();

  /** Returns the bytes that the files hold of one layer. */
  long layerBytes(int layer);

  /** Opens the token embeddings on a device; the caller closes them. */
  Embedding openEmbedding(Device device);

  /** Opens what makes logits of the last layer's hidden states; the caller closes it. */
  Head openHead(Device device);

  /**
   * Opens a layer on a device, reading or mapping each of its tensors once; the caller closes it.
   *
   * @throws InvalidInputException if its files cannot be mapped, or are of a type that we do not
   *     compute with
   */
  Layer openLayer(int layer, Device device);

  /**
   * Reads a layer's part of the files and forgets it, so that opening it soon after waits for no
   * disk. An interrupt ends it with a {@link java.util.concurrent.CancellationException}.
   */
  void readAhead(int layer);

  /**
   * Begins or continues to write the pruned checkpoint; nothing is touched yet.
   *
   * @param draft the folder in which it takes shape, on the target's disk; it need not exist
   * @param retained r, the experts that every layer keeps
   * @param target the folder that it becomes
   */
  Output output(Path draft, int retained, Path target);

  /**
   * Begins or continues to write a checkpoint whose layers keep other numbers of experts and
   * channels; nothing is touched yet.
   *
   * @param draft the folder in which it takes shape, on the target's disk; it need not exist
   * @param sizes of every layer that has experts
   * @param target the folder that it becomes
   * @throws InvalidInputException if a checkpoint cannot say these sizes
   */
  Output output(Path draft, Map<Integer, LayerSize> sizes, Path target);

  /**
   * Returns the bytes of the weight files of a checkpoint of such sizes, or a little more.
   *
   * @throws InvalidInputException if a checkpoint cannot say these sizes
   */
  long fileBytes(Map<Integer, LayerSize> sizes);

  /** Returns the elements of the routed experts of such a checkpoint. */
  long expertElements(Map<Integer, LayerSize> sizes);

  /**
   * Returns the bytes of such a checkpoint that computing one token reads: without the experts that
   * it does not select, and without the embeddings of other tokens.
   */
  long bytesPerToken(Map<Integer, LayerSize> sizes);

  /**
   * What is known of a layer with experts without opening it.
   *
   * @param layer the number of the decoder layer
   * @param numExperts n
   * @param routing without what lies in its weights, such as a correction bias
   */
  record MoeLayer(int layer, int numExperts, Routing routing) {}

  /** The token embeddings in memory. */
  interface Embedding extends AutoCloseable {
    /**
     * Returns the hidden states before the first layer.
     *
     * @param manager owns the result
     * @return {@code [sequences * length, hiddenSize]} float32, sequence after sequence
     */
    NDArray embed(NDManager manager, TokenSequences sequences);

    @Override
    void close();
  }

  /** The final norm and the head in memory. */
  interface Head extends AutoCloseable {
    /**
     * Returns the logits of every token.
     *
     * @param hidden {@code [tokens, hiddenSize]} behind the last layer, float32; it stays with the
     *     caller
     * @return {@code [tokens, vocabularySize]} float32, owned by the manager of {@code hidden}
     */
    NDArray logits(NDArray hidden);

    @Override
    void close();
  }

  /** One layer in memory. Attention and shared experts compute in float32. */
  interface Layer extends AutoCloseable {
    /** Returns the manager of the layer's device, which is closed with the layer. */
    NDManager manager();

    /** Returns the layer's experts, which cannot be removed; empty for a dense layer. */
    Optional<MoeLayerView> moe();

    /**
     * Returns the factor with which the experts' output is added to the residual stream; empty
     * where a norm stands between, or the layer is dense.
     */
    OptionalDouble outputFactor();

    /**
     * Computes the layer for sequences that start at position 0.
     *
     * @param hidden {@code [sequences * length, hiddenSize]} float32 on the layer's device; it
     *     stays with the caller
     * @param observer must compute the {@link ForwardObserver#routedOutput} of a layer with
     *     experts, or end the pass before
     * @return the hidden states behind the layer, of the same shape, owned by the manager of {@code
     *     hidden}; null if the observer ended the pass
     */
    @Nullable NDArray forward(NDArray hidden, int sequences, ForwardObserver observer);

    @Override
    void close();
  }

  /**
   * A pruned checkpoint that takes shape in a draft folder. What it holds survives the process.
   * Failures to write are {@link java.io.UncheckedIOException}s, after which the call can be
   * repeated. Not thread-safe.
   */
  interface Output {
    /**
     * Checks what can be checked before any work.
     *
     * @return the bytes of the folder to come
     * @throws InvalidInputException if the target exists or cannot be written, lies inside the
     *     source, or there is too little space
     */
    long check();

    /**
     * Writes one layer, and returns when it is on disk.
     *
     * @param retained the experts that stay, ascending; none for a dense layer
     */
    void write(int layer, List<Integer> retained);

    /**
     * Writes one layer with a cut, and returns when it is on disk.
     *
     * @throws InvalidInputException if the cut is not of the layer's size
     */
    void write(int layer, LayerCut cut);

    /** Notes a layer that an earlier process wrote; to be called in the order of writing. */
    void recall(int layer, List<Integer> retained);

    /**
     * Writes what is not of any layer, and gives the folder its name.
     *
     * @param provenance what to note of the choice
     */
    void complete(Provenance provenance);
  }
}
