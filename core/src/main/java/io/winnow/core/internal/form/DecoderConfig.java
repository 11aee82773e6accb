package io.winnow.core.internal.form;

import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.List;
import java.util.OptionalInt;
import java.util.function.IntFunction;
import java.util.stream.IntStream;

/**
 * The dimensions and the form of a decoder, read from a checkpoint's {@code config.json} by its
 * {@link Family}.
 *
 * @param vocabularySize token ids
 * @param layers decoder layers
 * @param forms what each layer is made of; made anew when asked for, since config.json may name
 *     more layers than there are
 * @param kernel what all layers have in common
 * @param intermediateSize m, of one routed expert
 * @param experts n, per layer, as stored
 * @param topK k, experts per token
 * @param sharedSize the intermediate size of the shared experts together; 0 for none
 * @param denseSize the intermediate size of layers without experts
 * @param maxPositions longest sequence
 * @param tiedHead whether config.json says that the head's weight is the embedding's
 * @param biasedHead whether the head has a bias
 * @param biasedFeedForward whether dense blocks and shared experts have biases
 */
public record DecoderConfig(
    int vocabularySize,
    int layers,
    IntFunction<LayerForm> forms,
    KernelConfig kernel,
    int intermediateSize,
    int experts,
    int topK,
    int sharedSize,
    int denseSize,
    int maxPositions,
    boolean tiedHead,
    boolean biasedHead,
    boolean biasedFeedForward) {

  /**
   * Reads the fields that all families share.
   *
   * @param topKField the field that says how many experts a token selects
   * @param countFields names of the field that counts the experts of a layer
   */
  public static DecoderConfigBuilder read(
      CheckpointConfig json, String topKField, String... countFields) {
    return new DecoderConfigBuilder(json, topKField, countFields);
  }

  /** Returns d. */
  public int hiddenSize() {
    return kernel.hiddenSize();
  }

  /** Returns the sequence mixer of a layer. */
  public SequenceMixer mixer(int layer) {
    return forms.apply(layer).mixer();
  }

  /** Returns whether a layer has experts. */
  public boolean isSparse(int layer) {
    return forms.apply(layer).sparse();
  }

  /** Returns the same with another number of experts per layer. */
  public DecoderConfig withExperts(int newExperts) {
    return newExperts == experts
        ? this
        : new DecoderConfig(
            vocabularySize,
            layers,
            forms,
            kernel,
            intermediateSize,
            newExperts,
            topK,
            sharedSize,
            denseSize,
            maxPositions,
            tiedHead,
            biasedHead,
            biasedFeedForward);
  }

  /** Returns the layers that have experts, ascending. */
  public List<Integer> sparseLayers() {
    return IntStream.range(0, layers).filter(this::isSparse).boxed().toList();
  }

  /**
   * Returns the first layer that has experts, if there is one. It is found without a list of all,
   * which config.json may claim to be any number before they are looked for.
   */
  public OptionalInt firstSparseLayer() {
    return IntStream.range(0, layers).filter(this::isSparse).findFirst();
  }

  /** Returns the sequence mixers that occur, each once, in the order of the layers. */
  public List<SequenceMixer> mixers() {
    return IntStream.range(0, layers).mapToObj(this::mixer).distinct().toList();
  }
}
