package io.winnow.core.internal.form;

import java.util.EnumMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The names that a decoder's tensors have in a checkpoint, and how experts lie there. What is not
 * set is as in Mixtral. Immutable.
 */
public final class TensorNames {
  private final Builder names;

  private TensorNames(Builder names) {
    this.names = names;
  }

  /**
   * Begins names.
   *
   * @param block the feed-forward block, in a layer
   * @param router the gate, in the block
   * @param experts the routed experts, in the block
   */
  public static Builder builder(String block, String router, ExpertNames experts) {
    return new Builder(block, router, experts);
  }

  /** Begins names that differ from these. */
  public Builder but() {
    return new Builder(names);
  }

  /** Builds names; used once. */
  public static final class Builder {
    private String prefix = "";
    private String stem = "model.";
    private String block;
    private String router;
    private ExpertNames experts;
    private @Nullable String routerBias;
    private @Nullable String correction;
    private @Nullable String shared;
    private @Nullable String sharedGate;
    private @Nullable String mixerNorm = "input_layernorm";
    private @Nullable String normBehindMixer;
    private @Nullable String blockNorm = "post_attention_layernorm";
    private @Nullable String normBehindBlock;
    private final Map<MixerPart, String> mixerParts = new EnumMap<>(MixerPart.class);

    private Builder(String block, String router, ExpertNames experts) {
      this.block = block;
      this.router = router;
      this.experts = experts;
    }

    private Builder(Builder other) {
      this(other.block, other.router, other.experts);
      prefix = other.prefix;
      stem = other.stem;
      routerBias = other.routerBias;
      correction = other.correction;
      shared = other.shared;
      sharedGate = other.sharedGate;
      mixerNorm = other.mixerNorm;
      normBehindMixer = other.normBehindMixer;
      blockNorm = other.blockNorm;
      normBehindBlock = other.normBehindBlock;
      mixerParts.putAll(other.mixerParts);
    }

    /** Sets what precedes the names of all tensors. */
    public Builder prefix(String newPrefix) {
      prefix = newPrefix;
      return this;
    }

    /** Sets what precedes the names of all tensors but the head's, behind the prefix. */
    public Builder stem(String newStem) {
      stem = newStem;
      return this;
    }

    /** Sets the feed-forward block, in a layer. */
    public Builder block(String name) {
      block = name;
      return this;
    }

    /** Sets the gate, in the block. */
    public Builder router(String name) {
      router = name;
      return this;
    }

    /** Sets how the routed experts lie. */
    public Builder experts(ExpertNames newExperts) {
      experts = newExperts;
      return this;
    }

    /** Sets what is added to the gate's logits, in the block. */
    public Builder routerBias(String name) {
      routerBias = name;
      return this;
    }

    /** Sets what is added to scores for the selection, in the block. */
    public Builder correction(String name) {
      correction = name;
      return this;
    }

    /** Sets what holds the shared experts' gate_proj, up_proj and down_proj, in the block. */
    public Builder shared(String name) {
      shared = name;
      return this;
    }

    /** Sets what the sigmoid of the shared expert's weight is computed by, in the block. */
    public Builder sharedGate(String name) {
      sharedGate = name;
      return this;
    }

    /**
     * Sets the norms before and behind the sequence mixer, in a layer and without {@code .weight};
     * null where there is none.
     */
    public Builder mixerNorms(@Nullable String before, @Nullable String behind) {
      mixerNorm = before;
      normBehindMixer = behind;
      return this;
    }

    /** Sets the same of the feed-forward block. */
    public Builder blockNorms(@Nullable String before, @Nullable String behind) {
      blockNorm = before;
      normBehindBlock = behind;
      return this;
    }

    /** Sets the name of a weight of the sequence mixer, in {@code self_attn}. */
    public Builder mixerPart(MixerPart part, String name) {
      mixerParts.put(part, name);
      return this;
    }

    /** Ends the names. */
    public TensorNames build() {
      return new TensorNames(new Builder(this));
    }
  }

  /** How the routed experts of a layer lie in the checkpoint. */
  public sealed interface ExpertNames {
    /**
     * Each expert's matrices {@code [m, d]} and {@code [d, m]}, {@code {expert}} in the names.
     *
     * @param biased whether each has a bias, {@code .bias} in place of {@code .weight}
     */
    record Single(String gate, String up, String down, boolean biased) implements ExpertNames {
      /** Names experts without biases. */
      public Single(String gate, String up, String down) {
        this(gate, up, down, false);
      }
    }

    /**
     * Each expert's two matrices, {@code {expert}} in the names.
     *
     * @param layout how {@code gateUp} is cut, by rows
     * @param biased whether each has a bias, {@code .bias} in place of {@code .weight}
     */
    record Pair(Layout layout, String gateUp, String down, boolean biased) implements ExpertNames {}

    /**
     * All experts in one tensor.
     *
     * @param layout how an expert's part of {@code gateUp} is cut
     * @param gateUpBias null for none, like {@code downBias}
     */
    record Fused(
        Layout layout,
        String gateUp,
        String down,
        @Nullable String gateUpBias,
        @Nullable String downBias)
        implements ExpertNames {}

    /** Where the gate and the up projection of an expert are. */
    enum Layout {
      /** {@code [2 m, d]}: rows of gate, then rows of up; down is {@code [d, m]}. */
      ROWS,
      /** {@code [2 m, d]}: rows of gate and up in turn; down is {@code [d, m]}. */
      ALTERNATING_ROWS,
      /** {@code [d, 2 m]}: columns of gate, then columns of up; down is {@code [m, d]}. */
      COLUMNS,
      /** {@code [d, 2 m]}: columns of gate and up in turn; down is {@code [m, d]}. */
      ALTERNATING_COLUMNS;

      /** Returns whether gate and up are in turn. */
      public boolean isAlternating() {
        return this == ALTERNATING_ROWS || this == ALTERNATING_COLUMNS;
      }

      /** Returns whether matrices are stored transposed. */
      public boolean isTransposed() {
        return this == COLUMNS || this == ALTERNATING_COLUMNS;
      }

      /** Returns the layout that differs in whether matrices are stored transposed, or this one. */
      public Layout transposed(boolean transposed) {
        if (isAlternating()) {
          return transposed ? ALTERNATING_COLUMNS : ALTERNATING_ROWS;
        }
        return transposed ? COLUMNS : ROWS;
      }
    }

    /** The names that most families use. */
    static ExpertNames common() {
      return new Single(
          "experts.{expert}.gate_proj.weight",
          "experts.{expert}.up_proj.weight",
          "experts.{expert}.down_proj.weight");
    }
  }

  /** Returns what precedes the names of all tensors. */
  public String prefix() {
    return names.prefix;
  }

  /** Returns how the routed experts lie. */
  public ExpertNames experts() {
    return names.experts;
  }

  /** Returns the name of the token embeddings. */
  public String embedding() {
    return names.prefix + names.stem + "embed_tokens.weight";
  }

  /** Returns the name of the norm before the head. */
  public String finalNorm() {
    return names.prefix + names.stem + "norm.weight";
  }

  /** Returns the name of the head. */
  public String head() {
    return names.prefix + "lm_head.weight";
  }

  /** Returns what precedes the names of a layer's tensors. */
  public String layer(int layer) {
    return names.prefix + names.stem + "layers." + layer + ".";
  }

  /** Returns the name of the norm before a layer's sequence mixer; null if there is none. */
  public @Nullable String normBeforeMixer(int layer) {
    return norm(layer, names.mixerNorm);
  }

  /** Returns the name of the norm behind it; null if there is none. */
  public @Nullable String normBehindMixer(int layer) {
    return norm(layer, names.normBehindMixer);
  }

  /** Returns the name of the norm before a layer's feed-forward block; null if there is none. */
  public @Nullable String normBeforeBlock(int layer) {
    return norm(layer, names.blockNorm);
  }

  /** Returns the name of the norm behind it; null if there is none. */
  public @Nullable String normBehindBlock(int layer) {
    return norm(layer, names.normBehindBlock);
  }

  private @Nullable String norm(int layer, @Nullable String name) {
    return name == null ? null : layer(layer) + name + ".weight";
  }

  /** Returns the name of a weight of a layer's sequence mixer. */
  public String mixer(int layer, MixerPart part) {
    return layer(layer) + "self_attn." + names.mixerParts.getOrDefault(part, part.commonName());
  }

  /** Returns the full name of a tensor of a layer's feed-forward block. */
  public String block(int layer, String name) {
    return layer(layer) + names.block + "." + name;
  }

  private @Nullable String optionalBlock(int layer, @Nullable String name) {
    return name == null ? null : block(layer, name);
  }

  /** Returns the full name of an expert's tensor. */
  public String expert(int layer, String name, int expert) {
    return block(layer, name.replace("{expert}", Integer.toString(expert)));
  }

  /** Returns the name of the feed-forward block, in a layer. */
  public String block() {
    return names.block;
  }

  /** Returns the name of the gate, in the block. */
  public String router() {
    return names.router;
  }

  /** Returns the name of what is added to scores for the selection, in the block; null for none. */
  public @Nullable String correction() {
    return names.correction;
  }

  /** Returns the name of a layer's gate. */
  public String router(int layer) {
    return block(layer, names.router);
  }

  /** Returns whether something is added to the gate's logits. */
  public boolean hasRouterBias() {
    return names.routerBias != null;
  }

  /** Returns the name of what is added to the gate's logits; null for none. */
  public @Nullable String routerBias(int layer) {
    return optionalBlock(layer, names.routerBias);
  }

  /** Returns the name of what is added to scores for the selection; null for none. */
  public @Nullable String correction(int layer) {
    return optionalBlock(layer, names.correction);
  }

  /** Returns what precedes the names of the shared experts' matrices; null for none. */
  public @Nullable String shared(int layer) {
    return names.shared == null ? null : block(layer, names.shared + ".");
  }

  /** Returns the name of what computes the shared expert's weight; null for none. */
  public @Nullable String sharedGate(int layer) {
    return optionalBlock(layer, names.sharedGate);
  }

  /** Returns the name of a layer's router mapping W_RM, which only merged checkpoints have. */
  public String routerMapping(int layer) {
    String router = router(layer);
    return router.substring(0, router.lastIndexOf('.')) + ".router_mapping.weight";
  }
}
