package io.winnow.core.internal.layout;

import com.google.common.base.Suppliers;
import io.winnow.core.internal.checkpoint.Checkpoint;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The weights of a checkpoint's embedding and head, both {@code [vocabulary, d]}. As in
 * Transformers 5.17, what is stored counts: they are one if config.json says so, and no other is
 * stored beside the one, whichever that is.
 */
public final class Embeddings {
  private static final Logger LOGGER = LoggerFactory.getLogger(Embeddings.class);

  private final StoredTensors tensors;
  private final DecoderConfig config;
  private final Supplier<Boolean> tied = Suppliers.memoize(this::readTied);

  Embeddings(StoredTensors tensors, DecoderConfig config) {
    this.tensors = tensors;
    this.config = config;
  }

  private TensorInfo tensor(String name) {
    return tensors.plain(name, config.vocabularySize(), config.hiddenSize());
  }

  private String embeddingName() {
    return tensors.names().embedding();
  }

  private String headName() {
    return tensors.names().head();
  }

  private boolean isStored(String name) {
    return tensors.checkpoint().has(name);
  }

  /** Returns the weight of the embedding. */
  public TensorInfo embedding() {
    boolean onlyHead = config.tiedHead() && !isStored(embeddingName()) && isStored(headName());
    return tensor(onlyHead ? headName() : embeddingName());
  }

  /** Returns the weight of the head. */
  public TensorInfo head() {
    return isTied() ? embedding() : tensor(headName());
  }

  /** Returns the bias of the head, {@code [vocabulary]}, or null if it has none. */
  public @Nullable TensorInfo headBias() {
    return config.biasedHead()
        ? tensors.plain(StoredTensors.biasOf(headName()), config.vocabularySize())
        : null;
  }

  /** Returns whether both are one weight, which may be stored twice. */
  public boolean isTied() {
    return tied.get();
  }

  /** Returns whether both are one weight that is stored under both names. */
  public boolean isStoredTwice() {
    return isTied() && isStored(embeddingName()) && isStored(headName());
  }

  /** Returns the name that the head is stored under. */
  public String nameOfHead() {
    return headName();
  }

  private boolean readTied() {
    if (!config.tiedHead() || !isStored(embeddingName()) || !isStored(headName())) {
      return config.tiedHead();
    }
    boolean equal = Checkpoint.areEqual(tensor(embeddingName()), tensor(headName()));
    if (!equal) {
      LOGGER.warn(
          "{} has tie_word_embeddings, yet the tensors '{}' and '{}' differ: both are used, as in"
              + " Transformers. Set it to false to silence this",
          tensors.checkpoint().folder().resolve("config.json"),
          embeddingName(),
          headName());
    }
    return equal;
  }
}
