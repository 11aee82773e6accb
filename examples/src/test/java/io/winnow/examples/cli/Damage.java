package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** Ways to spoil a copy of the small model. */
enum Damage {
  TRUNCATED("truncated") {
    @Override
    void spoil(Path model) throws IOException {
      try (RandomAccessFile file = new RandomAccessFile(weights(model), "rw")) {
        file.setLength(file.length() - 1000);
      }
    }
  },
  HEADER_BEYOND_THE_FILE("header") {
    @Override
    void spoil(Path model) throws IOException {
      try (RandomAccessFile file = new RandomAccessFile(weights(model), "rw")) {
        file.write(new byte[] {0, 0, 0, 0, 1, 0, 0, 0});
      }
    }
  },
  INDEX_OUTSIDE_THE_FOLDER("../") {
    @Override
    void spoil(Path model) throws IOException {
      Files.move(model.resolve("model.safetensors"), model.resolveSibling("outside.safetensors"));
      Files.writeString(
          model.resolve("model.safetensors.index.json"),
          "{\"weight_map\": {\"lm_head.weight\": \"../outside.safetensors\"}}");
    }
  },
  ONLY_BIN_FILES(".bin") {
    @Override
    void spoil(Path model) throws IOException {
      Files.move(model.resolve("model.safetensors"), model.resolve("pytorch_model.bin"));
    }
  },
  ONLY_GGUF("gguf") {
    @Override
    void spoil(Path model) throws IOException {
      Files.move(model.resolve("model.safetensors"), model.resolve("mixtral.gguf"));
    }
  },
  NO_CONFIG("config.json") {
    @Override
    void spoil(Path model) throws IOException {
      Files.delete(model.resolve("config.json"));
    }
  },
  CONFIG_IS_NO_JSON("config.json") {
    @Override
    void spoil(Path model) throws IOException {
      Files.writeString(model.resolve("config.json"), "{");
    }
  },
  ANOTHER_FAMILY("'gpt2' in") {
    @Override
    void spoil(Path model) throws IOException {
      edit(model, "\"mixtral\"", "\"gpt2\"");
    }
  },
  WRONG_SHAPES("has the shape") {
    @Override
    void spoil(Path model) throws IOException {
      edit(model, "\"intermediate_size\": 256", "\"intermediate_size\": 255");
    }
  },
  MISSING_TENSORS("has no tensor") {
    @Override
    void spoil(Path model) throws IOException {
      edit(model, "\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5");
    }
  };

  private final String message;

  Damage(String message) {
    this.message = message;
  }

  /** What is to be said of it. */
  String message() {
    return message;
  }

  abstract void spoil(Path model) throws IOException;

  private static String weights(Path model) {
    return model.resolve("model.safetensors").toString();
  }

  private static void edit(Path model, String text, String replacement) throws IOException {
    Path config = model.resolve("config.json");
    String content = Files.readString(config);
    assertThat(content).contains(text);
    Files.writeString(config, content.replace(text, replacement), StandardCharsets.UTF_8);
  }
}
