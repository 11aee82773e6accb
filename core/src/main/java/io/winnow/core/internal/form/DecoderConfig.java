package io.winnow.core.internal.form;

import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.AttentionConfig.Latent;
import io.winnow.core.internal.form.AttentionConfig.QueryKeyNorm;
import io.winnow.core.internal.form.AttentionConfig.Temperature;
import io.winnow.core.internal.form.AttentionConfig.Visibility;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;

/**
 * The dimensions and the form of a decoder, read from a checkpoint's {@code config.json} by its
 * {@link Family}.
 *
 * @param vocabularySize token ids
 * @param layers decoder layers
 * @param attention the form of a layer's attention
 * @param attentionParts the weights that it consists of
 * @param rotary the rotation by positions
 * @param temperature the queries' growth with the position, in layers that have it
 * @param kernel what all layers have in common
 * @param intermediateSize m, of one routed expert
 * @param experts n, per layer, as stored
 * @param topK k, experts per token
 * @param sharedSize the intermediate size of the shared experts together; 0 for none
 * @param denseSize the intermediate size of layers without experts
 * @param sparse which layers have experts
 * @param maxPositions longest sequence
 * @param tiedHead whether the head's weight is the embedding's
 * @param biasedHead whether the head has a bias
 * @param biasedFeedForward whether dense blocks and shared experts have biases
 */
public record DecoderConfig(
    int vocabularySize,
    int layers,
    IntFunction<AttentionConfig> attention,
    Set<AttentionPart> attentionParts,
    RotaryConfig rotary,
    @Nullable Temperature temperature,
    KernelConfig kernel,
    int intermediateSize,
    int experts,
    int topK,
    int sharedSize,
    int denseSize,
    IntPredicate sparse,
    int maxPositions,
    boolean tiedHead,
    boolean biasedHead,
    boolean biasedFeedForward) {

  /** Returns d. */
  public int hiddenSize() {
    return kernel.hiddenSize();
  }

  /** Returns the same with another number of experts per layer. */
  public DecoderConfig withExperts(int newExperts) {
    return newExperts == experts
        ? this
        : new DecoderConfig(
            vocabularySize,
            layers,
            attention,
            attentionParts,
            rotary,
            temperature,
            kernel,
            intermediateSize,
            newExperts,
            topK,
            sharedSize,
            denseSize,
            sparse,
            maxPositions,
            tiedHead,
            biasedHead,
            biasedFeedForward);
  }

  /** Returns the layers that have experts, ascending. */
  public List<Integer> sparseLayers() {
    List<Integer> numbers = new ArrayList<>();
    for (int layer = 0; layer < layers; layer++) {
      if (sparse.test(layer)) {
        numbers.add(layer);
      }
    }
    return numbers;
  }

  /** Returns the forms of attention that occur, each once, in the order of the layers. */
  public Collection<AttentionConfig> attentionForms() {
    List<AttentionConfig> forms = new ArrayList<>();
    for (int layer = 0; layer < layers; layer++) {
      AttentionConfig form = attention.apply(layer);
      if (!forms.contains(form)) {
        forms.add(form);
      }
    }
    return forms;
  }

  /**
   * Reads the fields that all families share.
   *
   * @param topKField the field that says how many experts a token selects
   * @param countFields names of the field that counts the experts of a layer
   */
  public static Builder read(CheckpointConfig json, String topKField, String... countFields) {
    return new Builder(json, topKField, countFields);
  }

  /** Builds configurations; what is not set is as in Mixtral. */
  public static final class Builder {
    private final CheckpointConfig json;
    private final String topKField;
    private final String[] countFields;
    private final int layers;
    private final int heads;
    private final int hiddenSize;
    private final Set<AttentionPart> parts =
        EnumSet.of(
            AttentionPart.NORM,
            AttentionPart.QUERY,
            AttentionPart.KEY,
            AttentionPart.VALUE,
            AttentionPart.OUTPUT);
    private int intermediateSize;
    private int sharedSize;
    private int denseSize;
    private IntPredicate sparse = layer -> true;
    private IntFunction<Visibility> visibility = layer -> new Visibility(0, 0, false);
    private IntPredicate rotated = layer -> true;
    private double theta = 10_000;
    private double partialRotary = 1;
    private boolean interleaved;
    private double epsilon = 1e-6;
    private QueryKeyNorm norm = QueryKeyNorm.NONE;
    private double clip;
    private double scale;
    private @Nullable Temperature temperature;
    private @Nullable Latent latent;
    private double embeddingFactor = 1;
    private double residualFactor = 1;
    private double logitsDivisor = 1;
    private boolean layerNorm;
    private boolean tiedHead;
    private boolean biasedHead;
    private boolean biasedFeedForward;

    private Builder(CheckpointConfig json, String topKField, String... countFields) {
      this.json = json;
      this.topKField = topKField;
      this.countFields = countFields.clone();
      requireExperts();
      String activation = json.string("hidden_act").orElse("silu");
      if (!activation.equals("silu")) {
        throw new InvalidInputException(
            "hidden_act is '" + activation + "' in config.json; this family's experts use 'silu'");
      }
      layers = json.requirePositiveInt("num_hidden_layers");
      heads = json.requirePositiveInt("num_attention_heads");
      hiddenSize = json.requirePositiveInt("hidden_size");
    }

    /** Dense models of a family count none, and then say null of other things too. */
    private void requireExperts() {
      JsonObject fields = json.json();
      for (String field : countFields) {
        if (fields.has(field) && json.intOr(0, countFields) == 0) {
          throw new InvalidInputException(
              "The model has no experts: "
                  + field
                  + " is "
                  + fields.get(field)
                  + " in config.json; give a model with experts");
        }
      }
    }

    /** Sets m, the intermediate size of a routed expert. */
    public Builder expertSize(String field) {
      intermediateSize = json.requirePositiveInt(field);
      return this;
    }

    /** Sets the intermediate size of the shared experts together; 0 for none. */
    public Builder sharedSize(int size) {
      sharedSize = size;
      return this;
    }

    /** Sets which layers have experts, and the intermediate size of the others. */
    public Builder sparseLayers(String denseField, IntPredicate newSparse) {
      denseSize = json.requirePositiveInt(denseField);
      sparse = newSparse;
      return this;
    }

    /** Sets the values that fields have where they are absent. */
    public Builder defaults(double newTheta, double newEpsilon) {
      theta = newTheta;
      epsilon = newEpsilon;
      return this;
    }

    /** Sets which earlier positions a layer's tokens see. */
    public Builder visibility(IntFunction<Visibility> newVisibility) {
      visibility = newVisibility;
      return this;
    }

    /** Sets how many positions back every layer's tokens see, themselves included; 0 for all. */
    public Builder window(int window) {
      return visibility(layer -> new Visibility(Math.max(0, window), 0, false));
    }

    /** Sets that the rotation is of neighbours. */
    public Builder interleavedRotary() {
      interleaved = true;
      return this;
    }

    /** Sets that the rotation is of elements half of the rotated ones apart, as it is without. */
    public Builder halvedRotary() {
      interleaved = false;
      return this;
    }

    /** Sets what part of a head is rotated where config.json does not say. */
    public Builder partialRotary(double part) {
      partialRotary = part;
      return this;
    }

    /** Sets which layers know positions. */
    public Builder rotated(IntPredicate newRotated) {
      rotated = newRotated;
      return this;
    }

    /** Sets how queries grow with the position in layers that know none. */
    public Builder temperature(Temperature newTemperature) {
      temperature = newTemperature;
      return this;
    }

    /** Adds biases or other weights of the attention if {@code present}. */
    public Builder attentionParts(boolean present, AttentionPart... more) {
      if (present) {
        Collections.addAll(parts, more);
      }
      return this;
    }

    /** Sets that queries, keys, values and the output have biases, if {@code present}. */
    public Builder attentionBiases(boolean present) {
      return attentionParts(
          present,
          AttentionPart.QUERY_BIAS,
          AttentionPart.KEY_BIAS,
          AttentionPart.VALUE_BIAS,
          AttentionPart.OUTPUT_BIAS);
    }

    /** Sets what is normalised of queries and keys. */
    public Builder queryKeyNorm(QueryKeyNorm newNorm) {
      norm = newNorm;
      boolean weighted = norm == QueryKeyNorm.HEAD || norm == QueryKeyNorm.PROJECTION;
      return attentionParts(weighted, AttentionPart.QUERY_NORM, AttentionPart.KEY_NORM);
    }

    /** Sets the greatest absolute value of queries, keys and values; 0 for any. */
    public Builder clip(double newClip) {
      clip = newClip;
      return this;
    }

    /** Sets the factor of the scores; without it, 1 / sqrt(headSize). */
    public Builder scale(double newScale) {
      scale = newScale;
      return this;
    }

    /** Sets multi-head latent attention. */
    public Builder latent(Latent newLatent) {
      latent = newLatent;
      boolean queryDown = newLatent.queryRank() > 0;
      parts.removeAll(List.of(AttentionPart.QUERY, AttentionPart.KEY, AttentionPart.VALUE));
      attentionParts(!queryDown, AttentionPart.QUERY);
      attentionParts(
          queryDown,
          AttentionPart.QUERY_DOWN,
          AttentionPart.QUERY_DOWN_NORM,
          AttentionPart.QUERY_UP);
      return attentionParts(
          true, AttentionPart.LATENT, AttentionPart.LATENT_NORM, AttentionPart.LATENT_UP);
    }

    /** Sets factors of embeddings and of what is added to the residual, a divisor of logits. */
    public Builder factors(double embedding, double residual, double logits) {
      embeddingFactor = embedding;
      residualFactor = residual;
      logitsDivisor = logits;
      return this;
    }

    /** Sets that norms also subtract the mean and add a bias. */
    public Builder layerNorm() {
      layerNorm = true;
      return this;
    }

    /** Sets whether the head has a bias. */
    public Builder biasedHead(boolean biased) {
      biasedHead = biased;
      return this;
    }

    /** Sets whether dense blocks and shared experts have biases. */
    public Builder biasedFeedForward(boolean biased) {
      biasedFeedForward = biased;
      return this;
    }

    /** Sets that the head's weight is the embedding's where config.json does not say. */
    public Builder tiedHead() {
      tiedHead = true;
      return this;
    }

    public DecoderConfig build() {
      int experts = json.requirePositiveInt(countFields);
      int topK = json.requirePositiveInt(topKField);
      if (topK > experts) {
        throw new InvalidInputException(
            String.format(
                "%s is %d in config.json, more than %s, %d",
                topKField, topK, String.join(" or ", countFields), experts));
      }
      double rmsEpsilon = json.doubleOr(epsilon, "rms_norm_eps");
      int maxPositions = json.requirePositiveInt("max_position_embeddings");
      int headSize = json.intOr(hiddenSize / heads, "head_dim");
      if (latent != null) {
        headSize = json.requirePositiveInt("qk_rope_head_dim");
      }
      Rotary rotary = Rotary.read(json, headSize, partialRotary, theta, maxPositions);
      RotaryConfig rotation =
          new RotaryConfig(rotary.inverseFrequencies(), rotary.factor(), interleaved);
      if (rmsEpsilon < 0) {
        throw new InvalidInputException(
            "rms_norm_eps is " + rmsEpsilon + " in config.json; it must not be negative");
      }
      return new DecoderConfig(
          json.requirePositiveInt("vocab_size"),
          layers,
          attention(headSize, rotary),
          parts,
          rotation,
          temperature,
          new KernelConfig(
              hiddenSize, rmsEpsilon, embeddingFactor, residualFactor, logitsDivisor, layerNorm),
          intermediateSize,
          experts,
          topK,
          sharedSize,
          denseSize,
          sparse,
          rotary.maxPositions(),
          json.booleanOr(tiedHead, "tie_word_embeddings"),
          biasedHead,
          biasedFeedForward);
    }

    private IntFunction<AttentionConfig> attention(int ofRotary, Rotary rotary) {
      int keyValueHeads = json.intOr(heads, "num_key_value_heads");
      if (keyValueHeads < 1 || heads % keyValueHeads != 0) {
        throw new InvalidInputException(
            "num_key_value_heads is "
                + keyValueHeads
                + " in config.json, which does not divide num_attention_heads, "
                + heads);
      }
      int headSize = latent == null ? ofRotary : latent.plainSize() + ofRotary;
      double growth = latent == null ? 1 : rotary.scaleFactor();
      double factor = scale == 0 ? growth / Math.sqrt(headSize) : scale;
      boolean explicit = parts.contains(AttentionPart.SINKS);
      int rotarySize = 2 * rotary.inverseFrequencies().length;
      return layer -> {
        Visibility seen = visibility.apply(layer);
        boolean positions = rotated.test(layer);
        return new AttentionConfig(
            heads,
            latent == null ? keyValueHeads : heads,
            headSize,
            factor,
            new Visibility(seen.window(), seen.chunk(), explicit),
            positions ? rotarySize : 0,
            interleaved,
            norm == QueryKeyNorm.ROTATED && !positions ? QueryKeyNorm.NONE : norm,
            clip,
            temperature != null && !positions,
            latent);
      };
    }
  }
}
