"""What WhatsApp writes in the place of things that are not text, in the languages of its exports (case folded).

Only the phrases without a sign of their own: `<two words>`, and on iOS lines that a direction mark opens, are known by
their form. After a mark a placeholder is known from its caption by these phrases.
"""

# Android's placeholders of one word; those of two words and more are known by their brackets.
MEDIA_TAGS = frozenset({
    "<媒体省略>", "<媒體省略>", "<省略多媒體檔案>", "<已忽略媒体文件>",
    "<メディアなし>", "<メディアは含まれていません>",
})  # fmt: skip

# iOS: `image omitted`, where an editor or a converter has taken U+200E away.
_KINDS_AND_OMITTED = (
    ("image video audio gif sticker document contact-card", "omitted"),
    ("imagen tarjeta-de-contacto", "omitida"),
    ("video vídeo audio gif sticker documento", "omitido"),
    ("imagem figurinha", "ocultada omitida"),
    ("vídeo áudio gif documento cartão-do-contato", "ocultado omitido"),
    ("bild video audio gif sticker dokument kontaktkarte", "weggelassen"),
    ("image vidéo fiche-contact", "absente"),
    ("audio gif sticker document", "absent"),
    ("immagine scheda-contatto", "omessa"),
    ("video audio gif sticker documento", "omesso"),
    ("afbeelding video audio gif sticker document contactkaart", "weggelaten"),
    ("изображение видео аудио gif стикер документ контакт", "отсутствует пропущено пропущен"),
    ("görüntü video ses gif çıkartma belge", "dahil-edilmedi"),
    ("画像 動画 ビデオ 音声 スタンプ ステッカー gif 文書", "は省略されました が省略されました"),
    ("סטיקר gif מסמך השמע סרטון-הווידאו סרטון קטע-קול כרטיס-איש-קשר", "הושמט"),
    ("התמונה תמונה המדיה", "הושמטה"),
    ("تصویر ویدیو صدا استیکر gif سند برگ-مخاطب", "حذف-شد"),
    ("ویڈیو آڈیو اسٹیکر gif دستاویز", "نظرانداز"),
    ("لم-يتم-إدراج تم-استبعاد", "الوسائط الصورة الفيديو الفيديوهات مقطع-الفيديو الصوت المقطع-الصوتي المقاطع-الصوتية"),
    ("لم-يتم-إدراج تم-استبعاد", "التسجيل-الصوتي الملصق الملصقات صورة-gif صورة-متحركة gif المستند"),
    ("لم-يتم-إدراج تم-استبعاد", "جهة-الاتصال بطاقة-جهة-الاتصال بطاقة-جهة-اتصال"),
    ("图片 圖片 视频 影片 音频 語音訊息 贴图 貼圖 gif 文件 文檔", "已省略 已忽略"),
)
_TIGHT = ("は", "が", "已")
MEDIA = frozenset(
    f"{kind}{'' if omitted[0] in _TIGHT else ' '}{omitted}".replace("-", " ")
    for kinds, endings in _KINDS_AND_OMITTED
    for kind in kinds.split()
    for omitted in endings.split()
) | frozenset({
    "null", "media omitted", "multimedia omitido", "medien ausgeschlossen", "המדיה לא נכללה", "تم حذف الملصقات",
    "الصورة غير مشمولة", "الفيديو غير مشمول", "الملصق غير مشمول", "تصویر نکال دی گئی ہے", "رابطہ کارڈ نظر انداز",
    "live location shared", "تمت مشاركة الموقع المباشر", "משתף מיקום בשידור חי", "مکان زنده به اشتراک گذاشته شد",
    "جاری مقام کا اشتراک ہوا", "live-standort wird geteilt", "ubicación en tiempo real compartida",
    "localisation en direct partagée", "localização atual compartilhada", "posizione attuale condivisa",
    "live locatie gedeeld",
})  # fmt: skip

# Android with media: `IMG-20240105-WA0003.jpg (file attached)`, the caption on the lines after it.
ATTACHED = frozenset({
    "file attached", "archivo adjunto", "datei angehängt", "fichier joint", "arquivo anexado", "file allegato",
    "bestand bijgevoegd", "файл добавлен", "файл прикреплен", "файл прикреплён", "dosya ekli", "ملف مرفق", "الملف مرفق",
    "添付ファイル", "ファイル添付", "附件", "文件附件", "附件檔案", "파일 첨부됨", "קובץ מצורף", "پیوستہ فائل",
    "پیوست شد", "file terlampir", "plik załączony",
})  # fmt: skip

DELETED = frozenset({
    "this message was deleted", "you deleted this message", "message deleted",
    "se eliminó este mensaje", "eliminaste este mensaje",
    "diese nachricht wurde gelöscht", "du hast diese nachricht gelöscht",
    "ce message a été supprimé", "vous avez supprimé ce message",
    "mensagem apagada", "esta mensagem foi apagada", "você apagou esta mensagem",
    "questo messaggio è stato eliminato", "hai eliminato questo messaggio",
    "dit bericht is verwijderd", "je hebt dit bericht verwijderd",
    "данное сообщение удалено", "это сообщение было удалено", "вы удалили данное сообщение", "вы удалили это сообщение",
    "bu mesaj silindi", "bu mesajı sildiniz",
    "تم حذف هذه الرسالة", "لقد حذفت هذه الرسالة", "حذفت هذه الرسالة", "أنت حذفت هذه الرسالة",
    "لقد حذفت أنت هذه الرسالة", "این پیام حذف شد", "این پیام حذف شده است",
    "شما این پیام را حذف کردید", "یہ میسج حذف کر دیا گیا ہے", "آپ نے یہ میسج حذف کر دیا ہے", "یہ پیغام حذف کیا گیا",
    "آپ نے اس پیغام کو حذف کیا",
    "このメッセージは削除されました", "このメッセージを削除しました", "此消息已删除", "您已删除此消息", "此訊息已刪除",
    "הודעה זו נמחקה", "מחקת את ההודעה הזו", "מחקת הודעה זו", "pesan ini dihapus", "anda menghapus pesan ini",
})  # fmt: skip

# Sentences of the service that hold a colon, and calls; the rest of its lines have no `Name: `.
NOTICES = (
    "messages and calls are end-to-end encrypted", "messages to this", "waiting for this message", "missed voice call",
    "missed video call", "missed group", "your security code with", "الرسائل والمكالمات", "مكالمة صوتية فائتة",
    "مكالمة فيديو فائتة", "los mensajes y las llamadas", "nachrichten und anrufe", "les messages et les appels",
    "as mensagens e", "i messaggi e le chiamate", "сообщения и звонки", "הודעות ושיחות",
    "ההודעות והשיחות", "ההודעה נמחקה על ידי", "שיחה קולית שלא נענתה", "שיחת וידאו שלא נענתה", "بانتظار هذه الرسالة",
    "پیام‌ها و تماس‌ها", "پیامها و تماسها", "تماس صوتی پاسخ داده نشده", "تماس تصویری پاسخ داده نشده",
    "تماس تصویری بی‌پاسخ", "میسجز اور کالز", "مسڈ وائس کال", "مسڈ ویڈیو کال",
    "メッセージと通話", "消息和通话",
)  # fmt: skip
